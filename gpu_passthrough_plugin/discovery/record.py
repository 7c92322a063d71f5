"""Write a host as a recording: everything that discovery reads of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import (
    function_health,
    modules,
    recorded_tree,
    redact,
)
from gpu_passthrough_plugin.discovery.facts import (
    boot_id,
    facts,
    group_attributes,
)
from gpu_passthrough_plugin.discovery.functions import (
    DEVICES,
    detail,
    functions,
    mediated_devices,
    port,
)
from gpu_passthrough_plugin.discovery.installation import installation
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Reads
from gpu_passthrough_plugin.model.reading import (
    Unknown,
    Why,
    as_text,
    decoded,
    encoded,
)
from gpu_passthrough_plugin.model.redaction import Redaction

_DEVICE_NUMBERS = "sys/dev/"
_HOST_NAMES = ("etc/hostname", "proc/sys/kernel/hostname")
_FOR_LSPCI = ("vendor", "device", "class", "irq")


def written(
    tree: Tree, reads: Reads, redaction: Redaction | None = None
) -> bytes:
    """Return a recording of the host, with what discovery reads only.

    It has no serial numbers or vital product data; of a file that holds
    more than discovery uses, only those lines; and of all lines, what
    ``redaction`` leaves.

    :param reads: what every reader of how the host boots declares.
    :param redaction: that of the file that the recording is a part of.
    :raises ReadFailed: when ``tree`` has no PCI bus, or functions that the
        recording would not have.
    """
    redaction = redaction or Redaction()
    redaction.hide_host_names(host_names(tree))
    return umockdev.printed(_devices(tree, reads, redaction))


def host_names(tree: Tree) -> tuple[str, ...]:
    """Return the host's own names."""
    names = (text(tree, path) for path in _HOST_NAMES)
    return tuple(name for name in names if not isinstance(name, Unknown))


def _devices(
    tree: Tree, reads: Reads, redaction: Redaction
) -> tuple[Device, ...]:
    """Return the recording's devices, after one for the host itself."""
    recording = RecordingTree(tree)
    listed = functions(recording)
    for function in listed:
        detail(recording, function)
        function_health.health(recording, function.address, may_wake=True)
        if function.is_bridge:
            port(recording, function.address)
        # For lspci on a replayed host; discovery reads uevent.
        folder = f"{DEVICES}/{function.address}"
        recording.gather(folder, _FOR_LSPCI)
    mediated_devices(recording)
    for number in sorted(_groups(listed)):
        group_attributes(recording, number)
    host = facts(recording)
    modules.has(recording, host.kernel_release, "vfio_pci")
    boot_id(recording)
    installation(recording, reads)
    modaliases = [
        function.modalias
        for function in listed
        if not isinstance(function.modalias, Unknown)
    ]
    paths = _paths(recording, listed)
    return _Sorter(recording, modaliases, paths, redaction).devices()


def _paths(tree: Tree, listed: Iterable[Function]) -> frozenset[str]:
    """Return the paths of the functions' devices.

    :raises ReadFailed: when one is not where a recording can have it.
    """
    paths = {
        function.address: tree.real(f"{DEVICES}/{function.address}")
        for function in listed
    }
    odd = [
        f"{address} is {path}"
        for address, path in paths.items()
        if isinstance(path, Unknown) or not path.startswith("sys/devices/")
    ]
    if odd:
        more = f" and {len(odd) - 1} more" if odd[1:] else ""
        raise errors.ReadFailed(
            f"{tree} cannot be recorded without losing functions: {odd[0]}"
            f"{more}; expected links in {DEVICES} that lead below"
            " sys/devices: record the host itself"
        )
    return frozenset(map(str, paths.values()))


def _groups(functions: Iterable[Function]) -> set[int]:
    return {
        function.iommu_group
        for function in functions
        if isinstance(function.iommu_group, int)
    }


class _Sorter:
    """Assigns what was read to the devices that it belongs to."""

    def __init__(
        self,
        recording: RecordingTree,
        modaliases: list[str],
        functions: frozenset[str],
        redaction: Redaction,
    ) -> None:
        self._recording = recording
        self._modaliases = modaliases
        self._functions = functions
        self._pseudonyms = redact.pseudonyms(recording.files)
        self._redaction = redaction
        self._text_bytes = 0
        self._devices: dict[str, list[Line]] = {}
        self._host = [Line(Kind.PROPERTY, "SUBSYSTEM", b"recorded_host")]
        self._subsystems: dict[str, str] = {}

    def devices(self) -> tuple[Device, ...]:
        recording = self._recording
        for folder in recording.folders:
            self._device_of(f"{folder}/")
        for path, data in recording.files.items():
            self._file(path, data)
        for path, target in recording.links.items():
            self._link(path, target)
        others = [
            Device(path.removeprefix("sys"), _ordered(lines))
            for path, lines in sorted(self._devices.items())
        ]
        self._rest(len(others))
        host = Device(recorded_tree.HOST, _ordered(self._host))
        return tuple(map(self._redacted, (host, *others)))

    def _redacted(self, device: Device) -> Device:
        """Return a device without ids in paths and links: files have none."""
        ids = self._redaction.ids
        lines = (
            Line(
                line.kind,
                ids(line.key),
                encoded(ids(as_text(line.value)))
                if line.kind is Kind.LINK
                else line.value,
            )
            for line in device.lines
        )
        return Device(ids(device.path), tuple(lines))

    def _device_of(self, path: str) -> str:
        """Return the path of the device that has this file; empty if none.

        A device's parents are added with it, as umockdev-record does.
        """
        device = ""
        path = path.rpartition("/")[0]
        while path.startswith("sys/devices/"):
            if path in self._devices or self._begin(path):
                device = device or path
            path = path.rpartition("/")[0]
        return device

    def _begin(self, path: str) -> bool:
        if path not in self._subsystems:
            self._subsystems[path] = self._subsystem(path)
        subsystem = self._subsystems[path]
        if subsystem:
            line = Line(Kind.PROPERTY, "SUBSYSTEM", encoded(subsystem))
            self._devices[path] = [line]
        return bool(subsystem)

    def _subsystem(self, path: str) -> str:
        """Return a device's bus or class; empty for what is no device.

        Snapshots of other programs lack the link.
        """
        link = self._recording.tree.link(f"{path}/subsystem")
        if isinstance(link, str):
            return chroot_path.name(link)
        return "pci" if path in self._functions else ""

    def _file(self, path: str, data: bytes) -> None:
        data = redact.trimmed(path, data, self._modaliases, self._pseudonyms)
        data = self._redaction.file(path, data)
        device = self._device_of(path)
        if device:
            key = path.removeprefix(f"{device}/")
            self._devices[device] += _lines(key, data)
            return
        self._text_bytes += len(data)
        if len(data) > budget.MAX_TEXT_BYTES or (
            self._text_bytes > budget.MAX_TEXTS_BYTES
        ):
            # Who reads the recording would refuse all of it.
            self._text_bytes -= len(data)
            self._recording.unreadable[path] = f"{len(data)} bytes long"
            return
        self._host += _lines(f"{recorded_tree.ROOT}{path}", data)

    def _link(self, path: str, text: str) -> None:
        device = self._device_of(path)
        if device:
            key = path.removeprefix(f"{device}/")
            if key != "subsystem":
                self._devices[device].append(
                    Line(Kind.LINK, key, encoded(text))
                )
            return
        target = self._device_of(f"{chroot_path.link_target(path, text)}/")
        if path.startswith(_DEVICE_NUMBERS) and target:
            number = encoded(f"{chroot_path.name(path)}\n")
            line = Line(Kind.ATTRIBUTE, "dev", number)
            if line not in self._devices[target]:
                self._devices[target].append(line)
        elif not path.startswith(("sys/bus/", "sys/class/")):
            key = f"{recorded_tree.ROOT}{path}"
            self._host.append(Line(Kind.LINK, key, encoded(text)))

    def _rest(self, count: int) -> None:
        """Add the folders, the count of devices and what is unreadable."""
        recording = self._recording
        lists = {
            "devices": [str(count)],
            "folders": sorted(recording.folders - self._implied()),
            "unreadable": [
                f"{path}\t{why}"
                for path, why in sorted(recording.unreadable.items())
            ],
        }
        for key, rows in lists.items():
            if rows:
                data = "".join(f"{self._redaction.ids(r)}\n" for r in rows)
                self._host.append(Line(Kind.ATTRIBUTE, key, encoded(data)))

    def _implied(self) -> set[str]:
        """Return the folders that follow from the paths of what they hold."""
        recording = self._recording
        implied: set[str] = set(self._devices)
        inner = (
            *recording.files,
            *recording.links,
            *recording.folders,
        )
        for path in (*inner, *self._devices):
            folder = path.rpartition("/")[0]
            while folder not in implied:
                implied.add(folder)
                folder = folder.rpartition("/")[0]
        return implied | set(recording.files) | set(recording.links)


def _lines(key: str, data: bytes) -> Iterator[Line]:
    if key == "uevent":
        pairs = [line.partition("=") for line in decoded(data).split("\n")]
        properties = {name: value for name, equals, value in pairs if equals}
        for name, value in properties.items():
            if name not in {"", "SUBSYSTEM"}:
                yield Line(Kind.PROPERTY, name, encoded(value))
        return
    is_text = b"\0" not in data and chroot_path.name(key) != "config"
    yield Line(Kind.ATTRIBUTE if is_text else Kind.BINARY, key, data)


def _ordered(lines: list[Line]) -> tuple[Line, ...]:
    """Order lines as umockdev-record does: properties first, then by key."""
    return tuple(
        sorted(lines, key=lambda ln: (ln.kind != Kind.PROPERTY, ln.key))
    )


class RecordingTree:
    """Reads another tree and remembers what was read, by resolved path.

    :ivar files: contents; the longest part that was read.
    :ivar links: targets of every symbolic link that was followed.
    :ivar folders: those that were listed, and the folders in them.
    :ivar unreadable: the system's errors.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.folders: set[str] = set()
        self.unreadable: dict[str, str] = {}

    def __str__(self) -> str:
        return str(self.tree)

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        data = self.tree.read(where, limit)
        if isinstance(data, Unknown):
            self._note(where, data)
        elif len(data) >= len(self.files.get(where, b"")):
            self.files[where] = data
        return data

    def link(self, path: str) -> str | Unknown | None:
        folder, _, name = path.rpartition("/")
        where = self.real(folder)
        if isinstance(where, Unknown):
            return where
        where = f"{where}/{name}" if where else name
        link = self.tree.link(where)
        if isinstance(link, Unknown):
            self._note(where, link)
        elif link is not None:
            self.links[where] = link
        return link

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        names = self.tree.names(where)
        if isinstance(names, Unknown):
            self._note(where, names)
            return names
        self.folders.add(where)
        is_device = isinstance(self.tree.link(f"{where}/subsystem"), str)
        for name in names:
            child = f"{where}/{name}" if where else name
            # Of a device's own folder, only its links are looked for.
            if self._text(child) is None and not is_device:
                self.folders.add(child)
        return names

    def real(self, path: str) -> str | Unknown:
        # Links such as /proc/self mean nothing on another host.
        is_proc = path.startswith("proc/")
        return path if is_proc else chroot_path.resolve(path, self._text)

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        return (
            [self.read(f"{folder}/{name}") for name in files],
            [self.link(f"{folder}/{name}") for name in links],
        )

    def _text(self, path: str) -> str | None:
        link = self.tree.link(path)
        if not isinstance(link, str):
            return None
        self.links[path] = link
        return link

    def _note(self, path: str, unknown: Unknown) -> None:
        if unknown.why is Why.UNREADABLE:
            self.unreadable[path] = unknown.detail

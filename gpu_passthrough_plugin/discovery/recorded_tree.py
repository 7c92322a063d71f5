"""A recorded host, read like a tree: from umockdev's text to files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import chroot_path, sysfs_path, umockdev
from gpu_passthrough_plugin.formats.umockdev import Device, Kind
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    as_text,
)


class RecordedTree:
    """A host's files in memory, by resolved paths (no links in folders).

    :param files: contents by path.
    :param links: texts of symbolic links by path.
    :param folders: empty ones, and others whose contents are not given.
    :param unreadable: the system's error for what could not be read when
        this was recorded, by path.
    :param title: its name in messages.
    :param warnings: what makes it doubtful.
    :raises ReadFailed: when the paths of its folders are longer, together,
        than those of any host.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        links: Mapping[str, str],
        folders: Iterable[str] = (),
        unreadable: Mapping[str, str] | None = None,
        title: str = "the recording",
        warnings: Sequence[str] = (),
    ) -> None:
        self.files = dict(files)
        self.links = dict(links)
        self.unreadable = unreadable or {}
        self.title = title
        self.warnings = tuple(warnings)
        self._folder_bytes = 0
        self._folders: dict[str, set[str]] = {"": set()}
        for folder in folders:
            self._folders.setdefault(folder, set())
            self._count(folder)
            self._enter(folder)
        for path in (*files, *links, *self.unreadable):
            self._enter(path)

    @property
    def folders(self) -> tuple[str, ...]:
        """Return every folder, each after the one that holds it."""
        return tuple(sorted(self._folders))

    def __str__(self) -> str:
        return self.title

    def _enter(self, path: str) -> None:
        while path:
            folder, _, name = path.rpartition("/")
            is_listed = folder in self._folders
            self._folders.setdefault(folder, set()).add(name)
            if is_listed:
                return
            self._count(folder)
            path = folder

    def _count(self, folder: str) -> None:
        self._folder_bytes += len(folder)
        if self._folder_bytes > budget.MAX_FOLDERS_BYTES:
            raise errors.ReadFailed(
                f"{self.title} has folders whose paths have more than"
                f" {budget.MAX_FOLDERS_BYTES} characters together; expected"
                " the files of one host"
            )

    def set_file(self, path: str, content: bytes) -> None:
        """Give a file, by its resolved path, other contents."""
        self.files[path] = content
        self._enter(path)

    def set_link(self, path: str, target: str) -> None:
        """Give a link, by its resolved path, another target."""
        self.links[path] = target
        self._enter(path)

    def remove(self, path: str) -> None:
        """Remove a link or a folder, by its resolved path, if it exists."""
        folder, _, name = path.rpartition("/")
        self.links.pop(path, None)
        self._folders.pop(path, None)
        self._folders.get(folder, set()).discard(name)

    def read(self, path: str, limit: int | None = None) -> bytes | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self._folders:
            return Unknown(Why.UNREADABLE, "Is a directory")
        data = self.files.get(where)
        return MISSING if data is None else data[:limit]

    def link(self, path: str) -> str | Unknown | None:
        folder, _, name = path.rpartition("/")
        where = self.real(folder)
        if isinstance(where, Unknown):
            return where
        where = f"{where}/{name}" if where else name
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self.files or where in self._folders:
            return Unknown(Why.MALFORMED, "not a symbolic link")
        return self.links.get(where)

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        where = self.real(path)
        if isinstance(where, Unknown):
            return where
        if where in self.unreadable:
            return Unknown(Why.UNREADABLE, self.unreadable[where])
        if where in self._folders:
            return tuple(sorted(self._folders[where]))
        return MISSING

    def real(self, path: str) -> str | Unknown:
        return chroot_path.resolve(path, self.links.get)

    def gather(
        self, folder: str, files: Sequence[str], links: Sequence[str] = ()
    ) -> tuple[list[bytes | Unknown], list[str | Unknown | None]]:
        return (
            [self.read(f"{folder}/{name}") for name in files],
            [self.link(f"{folder}/{name}") for name in links],
        )


HOST = "/devices/virtual/recorded_host/host"
"""A device that no kernel has, for the files outside of sys/devices.

umockdev loads it as any other.  Its attributes and links below ``root/``
are the host's files and links.  ``folders`` lists folders that are empty
or whose contents were not read; ``unreadable`` lists what could not be
read (path, tab, the system's error); ``devices`` is the number of the
recording's other devices, and ``note`` is for people.
"""
ROOT = "root/"
_MOST_FAULTS = 20

# The rest are classes.  Source: Linux, the ``bus_type`` of each.
_BUSES = frozenset(
    {
        "acpi", "auxiliary", "clockevents", "clocksource", "cpu", "cxl",
        "dax", "event_source", "hid", "i2c", "machinecheck", "mdev",
        "mdio_bus", "memory", "memory_tiering", "nd", "node", "nvmem",
        "pci", "pci_express", "platform", "pnp", "scsi", "sdio", "serial",
        "serial-base", "serio", "spi", "thunderbolt", "usb", "vdpa",
        "virtio", "vmbus", "wmi", "workqueue", "xen",
    }
)  # fmt: skip


def from_devices(
    devices: Sequence[Device], title: str, warnings: Sequence[str] = ()
) -> RecordedTree:
    """Return the files that the devices were recorded from.

    :raises Faults: when devices are missing, or the host's other files are
        larger than what is read of them.
    """
    host, others = None, []
    for device in devices:
        if device.path == HOST:
            host = device
        else:
            others.append(device)
    faults = [*_count_faults(host, others, title), *_gaps(others, title)]
    if faults:
        raise errors.Faults(tuple(faults))
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for device in others:
        files |= _files(device)
        links |= _links(device)
    if host is None:
        return RecordedTree(files, links, title=title, warnings=warnings)
    _require_small(host, title)
    return _with_host(host, files, links, title, warnings)


def _require_small(host: Device, title: str) -> None:
    sizes = {
        line.key: len(line.value)
        for line in host.lines
        if line.kind in {Kind.ATTRIBUTE, Kind.BINARY}
        and line.key.startswith(ROOT)
    }
    faults = [
        f"{title} has {key.removeprefix(ROOT)} with {size} bytes; expected at"
        f" most {budget.MAX_TEXT_BYTES}"
        for key, size in sizes.items()
        if size > budget.MAX_TEXT_BYTES
    ]
    total = sum(sizes.values())
    if not faults and total > budget.MAX_TEXTS_BYTES:
        faults.append(
            f"{title} has files of {total} bytes together; expected at most"
            f" {budget.MAX_TEXTS_BYTES}"
        )
    if faults:
        raise errors.Faults(tuple(faults[:_MOST_FAULTS]))


def _with_host(
    host: Device,
    files: dict[str, bytes],
    links: dict[str, str],
    title: str,
    warnings: Sequence[str],
) -> RecordedTree:
    attributes = host.values(Kind.ATTRIBUTE) | host.values(Kind.BINARY)
    for key, value in attributes.items():
        if key.startswith(ROOT):
            files[key.removeprefix(ROOT)] = value
    for key, value in host.values(Kind.LINK).items():
        if key.startswith(ROOT):
            links[key.removeprefix(ROOT)] = as_text(value)
    unreadable = {}
    for line in as_text(attributes.get("unreadable", b"")).splitlines():
        path, _, why = line.partition("\t")
        unreadable[path] = why
    folders = as_text(attributes.get("folders", b"")).splitlines()
    for path in (*folders, *unreadable):
        if path.count("/") > budget.MAX_DEPTH:
            raise errors.Faults(
                (
                    f"{title} has a path of {path.count('/')} folders;"
                    f" expected at most {budget.MAX_DEPTH}",
                )
            )
    return RecordedTree(files, links, folders, unreadable, title, warnings)


def _files(device: Device) -> dict[str, bytes]:
    base = f"sys{device.path}"
    uevent = b"".join(
        b"%s=%s\n" % (key.encode("utf-8", "surrogateescape"), value)
        for key, value in device.values(Kind.PROPERTY).items()
        if key != "__DEVCONTEXT"
    )
    contents = device.values(Kind.ATTRIBUTE) | device.values(Kind.BINARY)
    files = {f"{base}/{key}": value for key, value in contents.items()}
    return files | {f"{base}/uevent": uevent}


def _links(device: Device) -> dict[str, str]:
    """Return its own links, and those that lead to it."""
    base = f"sys{device.path}"
    up = "../" * device.path.count("/")
    properties = device.values(Kind.PROPERTY)
    subsystem = as_text(properties["SUBSYSTEM"])
    kind = "bus" if subsystem in _BUSES else "class"
    links = {
        f"{base}/{key}": as_text(value)
        for key, value in device.values(Kind.LINK).items()
    }
    links[f"{base}/subsystem"] = f"{up}{kind}/{subsystem}"
    for place in _places(device, subsystem, kind):
        links[place] = "../" * place.count("/") + base
        links[place] = links[place].replace("../sys/", "", 1)
    return links


def _places(device: Device, subsystem: str, kind: str) -> Iterator[str]:
    """Yield the paths of the links that lead to a device."""
    name = chroot_path.name(device.path)
    if kind == "bus":
        yield f"sys/bus/{subsystem}/devices/{name}"
    else:
        yield f"sys/class/{subsystem}/{name}"
    number = _number(device)
    if number:
        kind = "block" if subsystem == "block" else "char"
        yield f"sys/dev/{kind}/{number}"
    group = device.values(Kind.LINK).get("iommu_group")
    if subsystem == "pci" and group is not None:
        number = chroot_path.name(as_text(group))
        yield f"sys/kernel/iommu_groups/{number}/devices/{name}"


def _number(device: Device) -> str:
    """Return ``MAJOR:MINOR``; empty for a device without a node."""
    properties = device.values(Kind.PROPERTY)
    if "MAJOR" in properties and "MINOR" in properties:
        return as_text(properties["MAJOR"] + b":" + properties["MINOR"])
    return as_text(device.values(Kind.ATTRIBUTE).get("dev", b"")).strip()


def _count_faults(
    host: Device | None, others: Sequence[Device], title: str
) -> Iterator[str]:
    if host is None:
        return
    count = as_text(host.values(Kind.ATTRIBUTE).get("devices", b"")).strip()
    if count and count != str(len(others)):
        yield (
            f"{title} has {len(others)} devices, but its first one says"
            f" {count}: copy the whole file again"
        )


def _gaps(devices: Sequence[Device], title: str) -> Iterator[str]:
    """Yield a fault for each function whose parent is missing.

    umockdev-record writes a device's parents with it.
    """
    paths = {device.path for device in devices}
    missing: dict[str, str] = {}
    for device in devices:
        folder = device.path.rpartition("/")[0]
        while folder:
            if folder not in paths and sysfs_path.functions(
                chroot_path.name(folder)
            ):
                missing.setdefault(folder, device.path)
            folder = folder.rpartition("/")[0]
    for folder, below in missing.items():
        yield (
            f"{title} has {below}, but not its parent {folder}: copy the"
            " whole file again"
        )


SEED = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "data",
    "seed.umockdev",
)
"""The packaged recording: a host with three cards and two sockets."""


def load(path: str) -> RecordedTree:
    """Return the recorded host in a file.

    :raises ReadFailed: when it cannot be read, or is not a recording.
    :raises Faults: with every line at fault.
    """
    return parse(content(path), path)


def content(path: str) -> bytes:
    """Return what a recording's file has, unread.

    :raises ReadFailed: when it cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(budget.MAX_BYTES + 1)
    except OSError as error:
        raise errors.ReadFailed(
            f"{path} cannot be read ({error.strerror}); expected a recording"
            " from umockdev-record or 'gpu-passthrough host record'"
        ) from error
    if len(data) > budget.MAX_BYTES:
        raise errors.ReadFailed(
            f"{path} is larger than {budget.MAX_BYTES} bytes; expected a"
            " recording from umockdev-record or 'gpu-passthrough host record'"
        )
    return data


def parse(data: bytes, title: str) -> RecordedTree:
    """Return the recorded host in ``data``.

    :param title: its name in messages.
    :raises ReadFailed: when it is not a recording.
    :raises Faults: with every line at fault.
    """
    recording = umockdev.read(data, title)
    if recording.unclosed and any(d.path == HOST for d in recording.devices):
        # 'host record' writes an empty line behind every device.
        raise errors.Faults(
            (
                f"{title} ends within {recording.unclosed}: copy the whole"
                " file again",
            )
        )
    return from_devices(recording.devices, title, recording.warnings)

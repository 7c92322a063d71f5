"""A host described device by device, with all that sysfs has of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.formats.umockdev import Device, Kind, Line
from tests.trees import config

Values = Mapping[str, str | bytes]


class Host:
    """Devices and files, added one by one; each way out reads them all.

    ``tree()`` is the host in memory, ``write()`` puts it on disk, and
    ``devices()`` are a recording's.
    """

    def __init__(self, release: str = "6.1.0-18-amd64") -> None:
        self.release = release
        self._devices: dict[str, Device] = {}
        self._functions: dict[str, str] = {}
        self._root: dict[str, Line] = {}
        self._folders: list[str] = []
        self._notes: list[str] = []
        self.file("proc/sys/kernel/osrelease", f"{release}\n")

    def function(
        self,
        address: str,
        ids: str,
        class_code: str,
        *,
        under: str | None = None,
        root_bus: str | None = None,
        group: int | None = None,
        node: int | None = -1,
        driver: str | None = None,
        subsystem: str = "0000:0000",
        revision: int = 0,
        below: str | None = None,
        bars: Sequence[int] = (),
        reset: str | None = None,
        override: str | None = "(null)",
        vga: bool | None = None,
        vfs: tuple[int, int] | None = None,
        physical: str | None = None,
        is_dead: bool = False,
        more: Values | None = None,
    ) -> str:
        """Add a PCI function; its device path, which begins with /devices.

        :param ids: ``vendor:product`` in hexadecimal, as ``subsystem`` is.
        :param class_code: six hexadecimal digits.
        :param under: address of the function above it; None on a root bus.
        :param root_bus: such as ``10000:e0``, where it is not the one that
            the address begins with.
        :param below: of a bridge, the bus behind it, such as ``0000:06``.
        :param vfs: total and enabled virtual functions.
        :param physical: address of the physical function of a virtual one.
        :param more: further attributes.
        """
        path = self._path(address, under, root_bus)
        space = config.space(
            ids, class_code, revision, int(below is not None), subsystem
        )
        if physical:
            space = b"\xff" * 4 + space[4:]
        if is_dead:
            space = b"\xff" * len(space)
        attributes: dict[str, str | bytes] = {
            "config": space,
            "revision": f"{revision:#04x}\n",
            "resource": config.resource(bars),
            **config.ids(ids, class_code, subsystem),
            **(more or {}),
        }
        optional = {
            "numa_node": node,
            "driver_override": override,
            "reset_method": reset,
            "boot_vga": None if vga is None else int(vga),
            "sriov_totalvfs": vfs[0] if vfs else None,
            "sriov_numvfs": vfs[1] if vfs else None,
        }
        attributes |= {
            key: f"{value}\n"
            for key, value in optional.items()
            if value is not None
        }
        up = "../" * path.count("/")
        links = {}
        if driver:
            links["driver"] = f"{up}bus/pci/drivers/{driver}"
        if group is not None:
            links["iommu_group"] = f"{up}kernel/iommu_groups/{group}"
        if physical:
            links["physfn"] = f"../{physical}"
        properties = config.uevent(address, ids, class_code, subsystem, driver)
        self.device(path, "pci", attributes, links, properties)
        self._functions[address] = path
        if below:
            self.device(f"{path}/pci_bus/{below}", "pci_bus")
        return path

    def device(
        self,
        path: str,
        subsystem: str,
        attributes: Values | None = None,
        links: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> str:
        """Add any device; a relative path is below ``/devices/virtual``.

        A link's text may be a path from the root, such as
        ``/sys/devices/…``: it is made relative.
        """
        if not path.startswith("/"):
            path = f"/devices/virtual/{path}"
        lines = [
            Line(Kind.PROPERTY, key, value.encode())
            for key, value in {
                **(properties or {}),
                "SUBSYSTEM": subsystem,
            }.items()
        ]
        lines += [_attribute(*item) for item in (attributes or {}).items()]
        for key, target in (links or {}).items():
            folder = os.path.dirname(f"/sys{path}/{key}")
            text = target
            if target.startswith("/"):
                text = os.path.relpath(target, folder)
            lines.append(Line(Kind.LINK, key, text.encode()))
        self._devices[path] = Device(path, tuple(_sorted(lines)))
        return path

    def file(self, path: str, contents: str | bytes) -> None:
        """Add a file of the host that is not a device's."""
        key = f"{recorded_tree.ROOT}{path}"
        self._root[key] = _attribute(key, contents)

    def link(self, path: str, text: str) -> None:
        """Add a symbolic link of the host that is not a device's."""
        key = f"{recorded_tree.ROOT}{path}"
        self._root[key] = Line(Kind.LINK, key, text.encode())

    def folder(self, path: str) -> None:
        """Add a folder that nothing is in."""
        self._folders.append(path)

    def note(self, text: str) -> None:
        """Say something to the people who read the recording."""
        self._notes.append(text)

    def devices(self) -> tuple[Device, ...]:
        """What a recording of the host holds."""
        lines = [
            Line(Kind.PROPERTY, "SUBSYSTEM", b"recorded_host"),
            _attribute("devices", f"{len(self._devices)}\n"),
            *self._root.values(),
        ]
        if self._folders:
            lines.append(_attribute("folders", _joined(self._folders)))
        if self._notes:
            lines.append(_attribute("note", _joined(self._notes)))
        host = Device(recorded_tree.HOST, tuple(_sorted(lines)))
        return (host, *self._devices.values())

    def tree(self) -> RecordedTree:
        """The host in memory."""
        return recorded_tree.from_devices(self.devices(), "the described host")

    def write(self, root: Path) -> Path:
        """The host on disk below ``root``, which need not exist."""
        return written(self.tree(), root)

    def _path(
        self, address: str, under: str | None, root_bus: str | None
    ) -> str:
        if under is None:
            return f"/devices/pci{root_bus or address[:-5]}/{address}"
        above = self._functions[under]
        if root_bus:
            above = f"{above}/pci{root_bus}"
        return f"{above}/{address}"


def written(tree: RecordedTree, root: Path) -> Path:
    """``root``, with every folder, file and link of ``tree`` below it."""
    for folder in tree.folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for path, contents in tree.files.items():
        (root / path).write_bytes(contents)
    for path, text in tree.links.items():
        (root / path).symlink_to(text)
    return root


def _attribute(key: str, value: str | bytes) -> Line:
    data = value.encode() if isinstance(value, str) else value
    kind = Kind.BINARY if b"\0" in data or key == "config" else Kind.ATTRIBUTE
    return Line(kind, key, data)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _sorted(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda ln: (ln.kind != Kind.PROPERTY, ln.key))

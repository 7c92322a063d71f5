"""What an operator's own files tell vfio-pci to take."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.reads import Folder, Reads

OURS = "/etc/modprobe.d/gpu-passthrough.conf"
# A name that an earlier folder has hides it in a later one.
# Source: modprobe.d(5).
_FOLDERS = ("/etc/modprobe.d", "/run/modprobe.d", "/lib/modprobe.d")
READS = Reads(folders=tuple(Folder(f, (".conf",)) for f in _FOLDERS))
_LINE = re.compile(r"\s*options\s+vfio[-_]pci\s(.*)")
_OPTION = re.compile(r"(?:^|\s)ids=\"?([^\s\"]*)")
_CONTINUED = re.compile(r"\\\n")
_ANY = 0xFFFFFFFF


class Id(NamedTuple):
    """What one of vfio-pci's ids takes; ``ffffffff`` is any.

    Source: Linux, drivers/vfio/pci/vfio_pci.c (ids) and include/linux/pci.h
    (pci_match_one_device).
    """

    vendor: int
    device: int
    subvendor: int = _ANY
    subdevice: int = _ANY
    class_code: int = 0
    class_mask: int = 0

    def takes(self, function: Function) -> bool:
        """Whether it takes a function, or may: some of it is not known."""
        pairs = (
            (self.vendor, function.vendor_id),
            (self.device, function.product_id),
            (self.subvendor, function.subsystem_vendor_id),
            (self.subdevice, function.subsystem_product_id),
        )
        of_class = function.class_code
        # vfio-pci binds no bridges.
        return (
            not function.is_bridge
            and all(_fits(wanted, value) for wanted, value in pairs)
            and (
                isinstance(of_class, Unknown)
                or not (self.class_code ^ of_class) & self.class_mask
            )
        )


class Line(NamedTuple):
    """The ids that a file gives to vfio-pci, as they are written."""

    path: str
    ids: tuple[str, ...]


def lines(found: Installation) -> Iterator[Line]:
    """Those of every file that modprobe reads, but for our own."""
    seen: set[str] = set()
    for folder in _FOLDERS:
        paths = found.paths(folder, ".conf")
        shown = [p for p in paths if posixpath.basename(p) not in seen]
        seen.update(posixpath.basename(path) for path in paths)
        for path in shown:
            ids = tuple(_ids(found.text(path) or ""))
            if ids and path != OURS:
                yield Line(path, ids)


def parse(text: str) -> Id | None:
    """One of vfio-pci's ids; None for what the kernel does not take."""
    try:
        numbers = [int(field, 16) for field in text.split(":")]
    except ValueError:
        return None
    return Id(*numbers) if 2 <= len(numbers) <= len(Id._fields) else None


def _ids(text: str) -> Iterator[str]:
    for row in _CONTINUED.sub("", text).splitlines():
        line = _LINE.fullmatch(row)
        if line:
            for value in _OPTION.findall(line[1]):
                yield from filter(None, value.split(","))


def _fits(wanted: int, value: int | Unknown) -> bool:
    return isinstance(value, Unknown) or wanted in (_ANY, value)

"""vfio-pci's parameter ``ids``: which functions the driver binds.

Source: Linux, drivers/vfio/pci/vfio_pci.c (ids, vfio_pci_fill_ids) and
include/linux/pci.h (pci_match_one_device).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_cmdline, modprobe
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown

MODULE = "vfio_pci"

_ANY = 0xFFFFFFFF
_FIELD = re.compile(r"(?:0[xX])?([0-9a-fA-F]{1,8})")
_ADDED = re.compile(
    r"vfio[-_]pci: add \[([0-9a-f]{4,8}:[0-9a-f]{4,8})", re.IGNORECASE
)


class VfioPciId(NamedTuple):
    """One entry of ``ids``; a field of ``ffffffff`` matches any value."""

    vendor: int
    device: int
    subvendor: int = _ANY
    subdevice: int = _ANY
    class_code: int = 0
    class_mask: int = 0

    def matches(self, function: Function) -> bool:
        """Return whether vfio-pci binds the function, or may bind it.

        A value that could not be read may be any.  vfio-pci binds no
        bridges.
        """
        pairs = (
            (self.vendor, function.vendor_id),
            (self.device, function.product_id),
            (self.subvendor, function.subsystem_vendor_id),
            (self.subdevice, function.subsystem_product_id),
        )
        class_code = function.class_code
        return (
            not function.is_bridge
            and all(_matches(field, value) for field, value in pairs)
            and (
                isinstance(class_code, Unknown)
                or not (self.class_code ^ class_code) & self.class_mask
            )
        )

    def matches_ids(self, vendor: int, device: int) -> bool:
        """Return whether functions with these ids are matched by theirs."""
        return _matches(self.vendor, vendor) and _matches(self.device, device)


class IdList(NamedTuple):
    """One list of ids that vfio-pci is given.

    :param ids: as they are written, such as ``10de:1430``.
    :param source: the line or argument that says so, with its place.
    :param path: of the file; empty for the command line and the log.
    """

    ids: tuple[str, ...]
    source: str
    path: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """Return the first two fields of each entry, in lower case."""
        return tuple(
            ":".join(text.lower().split(":")[:2]) for text in self.ids
        )

    def covers(self, ids: str) -> bool:
        """Return whether an entry matches ``vvvv:pppp``."""
        vendor, _, device = ids.partition(":")
        return any(
            entry.matches_ids(int(vendor, 16), int(device, 16))
            for entry in map(parse, self.ids)
            if entry is not None
        )


def parse(text: str) -> VfioPciId | None:
    """Return one entry of ``ids``, or None for what the kernel rejects."""
    fields = [_FIELD.fullmatch(field) for field in text.split(":")]
    numbers = [int(field[1], 16) for field in fields if field is not None]
    is_valid = len(numbers) == len(fields)
    if not is_valid or not 2 <= len(numbers) <= len(VfioPciId._fields):
        return None
    return VfioPciId(*numbers)


def from_modprobe(installation: Installation) -> tuple[IdList, ...]:
    """Return the lists in modprobe.d, in the order in which they are read."""
    return tuple(_lists(modprobe.configured_options(installation, MODULE)))


def from_cmdline(words: Sequence[str]) -> tuple[IdList, ...]:
    """Return the lists on a kernel command line, in their order."""
    return tuple(_lists(modprobe.cmdline_options(words, MODULE)))


CMDLINE_NAME = "vfio-pci.ids"
# As readers of the command line have it: with ``_`` for ``-``.
_CMDLINE_NAME = "vfio_pci.ids"


def misspelt(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that were meant to be ``vfio-pci.ids=``.

    Such as ``vfio-pci-ids=``: the kernel hands it to nobody.
    """
    return tuple(
        word
        for word in kernel_cmdline.kernel_words(words)
        if kernel_cmdline.intended_name(
            kernel_cmdline.parse(word).name, (_CMDLINE_NAME,)
        )
    )


def from_log(lines: Iterable[str]) -> IdList | None:
    """Return the ids that vfio-pci logged when it was loaded, or None."""
    matches = [(_ADDED.search(line), line) for line in lines]
    added = [(match[1].lower(), line) for match, line in matches if match]
    if not added:
        return None
    return IdList(tuple(ids for ids, _ in added), added[0][1])


def _lists(options: Iterable[modprobe.Option]) -> Iterator[IdList]:
    for option in options:
        if option.name == "ids":
            ids = tuple(filter(None, (option.value or "").split(",")))
            yield IdList(ids, option.source, option.path)


def _matches(field: int, value: int | Unknown) -> bool:
    return isinstance(value, Unknown) or field in (_ANY, value)

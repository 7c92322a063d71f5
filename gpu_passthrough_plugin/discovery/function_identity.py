"""What a PCI function is: its ids, class, driver and modalias.

The kernel writes them to ``uevent``, and the same to files of their own.
Snapshots that other programs made of a host have one or the other.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    as_text,
    decoded,
)

_ID_FILES = (
    "vendor",
    "device",
    "subsystem_vendor",
    "subsystem_device",
    "class",
)
_CLASS_DIGITS = 6
_ID_DIGITS = (4, 4, 4, 4, _CLASS_DIGITS)
_DIGITS = re.compile(r"(?:0x)?[0-9a-fA-F]+")
# Source: Linux, drivers/pci/pci-sysfs.c (modalias_show).
_MODALIAS = re.compile(
    r"pci:v([0-9A-F]{8})d([0-9A-F]{8})sv([0-9A-F]{8})sd([0-9A-F]{8})"
    r"bc([0-9A-F]{2}sc[0-9A-F]{2}i[0-9A-F]{2})"
)


class Identity(NamedTuple):
    """What a function is; whatever nothing says is ``Unknown``.

    :param is_whole: whether ``uevent`` has it, so that the function shows
        everything that the kernel shows of it, but for what was left out
        when the tree was copied.
    """

    vendor_id: int | Unknown
    product_id: int | Unknown
    subsystem_vendor_id: int | Unknown
    subsystem_product_id: int | Unknown
    class_code: int | Unknown
    driver: str | Unknown | None
    modalias: str | Unknown
    is_whole: bool


def identity(tree: Tree, folder: str, uevent: bytes | Unknown) -> Identity:
    """Return what the function in ``folder`` is.

    :param uevent: contents of its ``uevent``.
    """
    pairs = {} if isinstance(uevent, Unknown) else _pairs(uevent)
    if "PCI_ID" not in pairs:
        why = uevent if isinstance(uevent, Unknown) else MISSING
        return _from_files(tree, folder, why)
    return Identity(
        *_ids(pairs["PCI_ID"]),
        *_ids(pairs.get("PCI_SUBSYS_ID")),
        _hex(pairs.get("PCI_CLASS"), _CLASS_DIGITS),
        pairs.get("DRIVER"),
        pairs.get("MODALIAS", MISSING),
        is_whole=True,
    )


def _from_files(tree: Tree, folder: str, why: Unknown) -> Identity:
    """Return what files and links say, else the modalias.

    That no driver is named proves nothing.

    :param why: why ``uevent`` says nothing.
    """
    (*files, alias), (driver,) = tree.gather(
        folder, (*_ID_FILES, "modalias"), ("driver",)
    )
    modalias = why if isinstance(alias, Unknown) else decoded(alias)
    match = _MODALIAS.match(str(modalias))
    vendor, product, subvendor, subproduct, class_code = (
        _id(data, None if match is None else match[number], why, most_digits)
        for number, (data, most_digits) in enumerate(
            zip(files, _ID_DIGITS, strict=True), 1
        )
    )
    if isinstance(driver, str):
        driver = chroot_path.name(driver)
    return Identity(
        vendor,
        product,
        subvendor,
        subproduct,
        class_code,
        why if driver is None else driver,
        modalias,
        is_whole=False,
    )


def _id(
    data: bytes | Unknown,
    in_modalias: str | None,
    why: Unknown,
    most_digits: int,
) -> int | Unknown:
    if not isinstance(data, Unknown):
        return _hex(decoded(data), most_digits)
    if in_modalias is None:
        return why if data is MISSING else data
    digits = in_modalias.replace("sc", "").replace("i", "")
    return _hex(digits, most_digits)


def _pairs(uevent: bytes) -> dict[str, str]:
    lines = as_text(uevent).split("\n")
    return dict([line.split("=", 1) for line in lines if "=" in line])


# Thousands of functions share a few dozen ids.
@functools.lru_cache(maxsize=1024)
def _hex(text: str | None, most_digits: int = 4) -> int | Unknown:
    """Return a number that the kernel wrote, with or without ``0x``."""
    if text is None:
        return MISSING
    digits = text.removeprefix("0x").lstrip("0") or "0"
    if _DIGITS.fullmatch(text) and len(digits) <= most_digits:
        return int(digits, 16)
    return Unknown(Why.MALFORMED, text)


@functools.lru_cache(maxsize=1024)
def _ids(text: str | None) -> tuple[int | Unknown, int | Unknown]:
    """Return vendor and product of ``10DE:1430``."""
    if text is None:
        return MISSING, MISSING
    vendor, colon, product = text.partition(":")
    malformed = Unknown(Why.MALFORMED, text)
    return (
        _hex(vendor) if vendor and colon else malformed,
        _hex(product) if product else malformed,
    )

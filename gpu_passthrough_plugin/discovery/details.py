"""What one function says of itself in full."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import endpoints, modules, paths
from gpu_passthrough_plugin.discovery.tree import Tree, decoded
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    Header,
    Physical,
    Virtual,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

# The part of config space that every user may read, and every function
# has.  Source: PCI Local Bus Specification 3.0, 6.1.
_HEADER_BYTES = 64
_REVISION_AT = 0x08
_HEADER_TYPE_AT = 0x0E
_VGA = 0x0300
# Base address registers come first in ``resource``.
# Source: Linux, include/linux/pci.h (PCI_STD_RESOURCES).
_BARS = 6

_FILES = (
    "revision",
    "driver_override",
    "reset_method",
    "boot_vga",
    "resource",
    "sriov_totalvfs",
    "sriov_numvfs",
)


def detail(tree: Tree, function: Function) -> Detail:
    """What judging or showing ``function`` needs beyond the listing.

    Opens its config space, which takes up to a millisecond.
    """
    folder = f"sys/bus/pci/devices/{function.address}"
    files, links = tree.gather(folder, _FILES, ("physfn",))
    revision, override, resets, vga, resource, total, enabled = files
    config = tree.read(f"{folder}/config", _HEADER_BYTES)
    return Detail(
        revision=_revision(revision, config),
        header=_header(config),
        modules=modules.modules(tree, function.modalias),
        driver_override=_override(override),
        reset_methods=_words(resets),
        boot_vga=_boot_vga(vga, function.class_code),
        bar_bytes=_bar_bytes(resource),
        sriov=_virtual(links[0]) or _physical(total, enabled),
        bridges=_bridges(tree, folder),
    )


def reset_methods(tree: Tree, function: Function) -> tuple[str, ...] | Unknown:
    """The resets a function can do alone; one small file, for a listing."""
    folder = f"sys/bus/pci/devices/{function.address}"
    return _words(tree.gather(folder, ("reset_method",))[0][0])


def bridges(tree: Tree, function: Function) -> tuple[Address, ...]:
    """The bridges above a function, the nearest last; one link."""
    return _bridges(tree, f"sys/bus/pci/devices/{function.address}")


def _malformed(data: bytes) -> Unknown:
    return Unknown(Why.MALFORMED, decoded(data))


def _number(data: bytes | Unknown, base: int = 10) -> int | Unknown:
    if isinstance(data, Unknown):
        return data
    try:
        return int(data, base)
    except ValueError:
        return _malformed(data)


def _revision(data: bytes | Unknown, config: bytes | Unknown) -> int | Unknown:
    """From its own file, which kernels before 4.10 do not have."""
    if data is not MISSING:
        return _number(data, 16)
    if isinstance(config, Unknown):
        return config
    if len(config) < _HEADER_BYTES:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    return config[_REVISION_AT]


def _header(config: bytes | Unknown) -> Header | Unknown:
    """What the header type says.

    The ids would not do: a live virtual function's read ffff as well.
    Source: Single Root I/O Virtualization 1.1, 3.4.1.1.
    """
    if isinstance(config, Unknown):
        return config
    if len(config) < _HEADER_BYTES:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    kind = config[_HEADER_TYPE_AT] & 0x7F
    if kind == 0x7F:
        return Header.DEAD
    if kind > 2:
        return Unknown(Why.MALFORMED, f"header type {kind:#04x}")
    return Header.BRIDGE if kind else Header.ENDPOINT


def _override(data: bytes | Unknown) -> str | Unknown | None:
    if isinstance(data, Unknown):
        return data
    text = decoded(data)
    # The kernel prints a null pointer so.
    return None if text in {"(null)", ""} else text


def _words(data: bytes | Unknown) -> tuple[str, ...] | Unknown:
    return data if isinstance(data, Unknown) else tuple(decoded(data).split())


def _boot_vga(
    data: bytes | Unknown, class_code: int | Unknown
) -> bool | Unknown | None:
    """Only VGA devices have this file."""
    if data is MISSING:
        is_vga = isinstance(class_code, Unknown) or class_code >> 8 == _VGA
        return data if is_vga else None
    flag = _number(data)
    return flag if isinstance(flag, Unknown) else flag == 1


def _bar_bytes(data: bytes | Unknown) -> tuple[int, ...] | Unknown:
    """From lines of first address, last address and flags."""
    if isinstance(data, Unknown):
        return data
    sizes = []
    for line in decoded(data).split("\n")[:_BARS]:
        try:
            first, last, flags = (int(word, 16) for word in line.split())
        except ValueError:
            return Unknown(Why.MALFORMED, line)
        if flags and last >= first:
            sizes.append(last - first + 1)
    return tuple(sizes)


def _virtual(link: str | Unknown | None) -> Virtual | Unknown | None:
    if not isinstance(link, str):
        return link
    try:
        return Virtual(addresses.parse(paths.name(link)))
    except errors.Invalid:
        return Unknown(Why.MALFORMED, link)


def _physical(
    total: bytes | Unknown, enabled: bytes | Unknown
) -> Physical | Unknown | None:
    """Nothing for a function that can have no virtual ones."""
    if total is MISSING:
        return None
    total_vfs, enabled_vfs = _number(total), _number(enabled)
    if isinstance(total_vfs, Unknown):
        return total_vfs
    if total_vfs == 0:
        return None
    if isinstance(enabled_vfs, Unknown):
        return enabled_vfs
    return Physical(total_vfs, enabled_vfs)


def _bridges(tree: Tree, folder: str) -> tuple[Address, ...]:
    """Every function above it, as the device's path has them."""
    where = tree.real(folder)
    if isinstance(where, Unknown):
        return ()
    return tuple(endpoints.functions(where.rpartition("/")[0]))

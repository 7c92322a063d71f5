"""How a function can be reset, and what its reset must leave as it was."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.functions import DEVICES
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function, ResetState
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    decoded,
)

# The six BARs of an endpoint.  Source: PCI Local Bus Specification 3.0, 6.1.
_BARS_AT, _BARS_END = 0x10, 0x28
_HEADER_BYTES = 64
_LINK = ("current_link_speed", "current_link_width")


def state(tree: Tree, address: Address) -> ResetState:
    """Return what a reset of a function must leave as it was, read now."""
    folder = f"{DEVICES}/{address}"
    config = tree.read(f"{folder}/config", _HEADER_BYTES)
    speed, width = tree.gather(folder, _LINK)[0]
    return ResetState(_bars(config), _speed(speed), _width(width))


def _bars(config: bytes | Unknown) -> tuple[int, ...] | Unknown:
    if isinstance(config, Unknown):
        return config
    if len(config) < _BARS_END:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    return struct.unpack_from("<6I", config, _BARS_AT)


def _speed(data: bytes | Unknown) -> str | Unknown | None:
    """Return such as ``16.0 GT/s``; the kernel adds the bus to it."""
    if isinstance(data, Unknown):
        return None if data is MISSING else data
    text = decoded(data)
    if not text[:1].isdigit():
        return Unknown(Why.MALFORMED, text)
    return text.removesuffix(" PCIe")


def _width(data: bytes | Unknown) -> int | Unknown | None:
    """Return the lanes; the kernel shows 255 for a link of unknown width.

    Source: Linux, include/linux/pci.h (PCIE_LNK_WIDTH_UNKNOWN).
    """
    if isinstance(data, Unknown):
        return None if data is MISSING else data
    text = decoded(data)
    is_number = text.isascii() and text.isdecimal() and text != "255"
    return int(text) if is_number else Unknown(Why.MALFORMED, text)


def has_reset(tree: Tree, address: Address) -> bool:
    """Return whether a function has a file ``reset``."""
    names = tree.names(f"{DEVICES}/{address}")
    return not isinstance(names, Unknown) and "reset" in names


def tells_methods(tree: Tree, functions: Iterable[Function]) -> bool:
    """Return whether this kernel has ``reset_method``: from 5.15 on."""
    return any(
        not isinstance(discovery.reset_methods(tree, function), Unknown)
        for function in functions
    )


def below_same_bridge(
    tree: Tree, function: Function, functions: Iterable[Function]
) -> tuple[Function, ...]:
    """Return the endpoints below the bridge that is nearest to a function.

    With itself; none where it is below no bridge that sysfs shows.
    """
    bridges = discovery.bridges(tree, function)
    if not bridges:
        return ()
    return tuple(
        other
        for other in functions
        if not other.is_bridge
        and bridges[-1] in discovery.bridges(tree, other)
    )

"""How a function does: link, power and errors, without its config space.

Once a function is bound to vfio-pci, no driver of the host shows these.
"""

from __future__ import annotations

import re
import struct

from gpu_passthrough_plugin.discovery.functions import DEVICES
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.formats import aer_counters, sysfs_path
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    AerCounters,
    FunctionHealth,
    Link,
    LinkMaximum,
    ResetState,
)
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    decoded,
)

# The kernel has these at hand: to read them wakes no function.
_KEPT = (
    "power_state",
    "power/runtime_status",
    "aer_dev_correctable",
    "aer_dev_nonfatal",
    "aer_dev_fatal",
)
_MAXIMUM = ("max_link_speed", "max_link_width")
_LINK = ("current_link_speed", "current_link_width", *_MAXIMUM)
_SPEED = re.compile(r"([0-9]{1,3}(?:\.[0-9])?) GT/s(?: PCIe)?")
# As wide as a link can be.  Source: PCI Express Base Specification 5.0, 7.5.3.
# The kernel shows 255 where it knows no width.  Source: Linux,
# include/linux/pci.h (PCIE_LNK_WIDTH_UNKNOWN).
_MOST_LANES = 32
# A field of six bits in a register that reads all ones.
# Source: Linux, drivers/pci/pci-sysfs.c (current_link_width_show).
_ALL_ONES = 63
# Source: Linux, drivers/pci/pci.c (pci_power_names).
_POWER_STATES = frozenset(
    {"error", "D0", "D1", "D2", "D3hot", "D3cold", "unknown"}
)
# Source: Linux, drivers/base/power/sysfs.c (runtime_status_show).
_RUNTIME_STATUSES = frozenset(
    {"error", "unsupported", "suspended", "suspending", "resuming", "active"}
)
_ASLEEP = frozenset({"suspended", "suspending"})
_NOT_WOKEN = Unknown(Why.UNREADABLE, "it is suspended, and was not woken")
# The six BARs of an endpoint.  Source: PCI Local Bus Specification 3.0, 6.1.
_BARS_AT, _BARS_END = 0x10, 0x28
_HEADER_BYTES = 64


def state(tree: Tree, address: Address) -> ResetState:
    """Return what a reset of a function must leave as it was, read now."""
    folder = f"{DEVICES}/{address}"
    config = tree.read(f"{folder}/config", _HEADER_BYTES)
    # To read config space has woken it.
    return ResetState(_bars(config), health(tree, address, may_wake=True))


def _bars(config: bytes | Unknown) -> tuple[int, ...] | Unknown:
    if isinstance(config, Unknown):
        return config
    if len(config) < _BARS_END:
        return Unknown(Why.MALFORMED, f"config is {len(config)} bytes long")
    return struct.unpack_from("<6I", config, _BARS_AT)


def health(
    tree: Tree, address: Address, *, may_wake: bool = False
) -> FunctionHealth:
    """Return what sysfs shows of a function now.

    :param may_wake: whether its link is read although it is suspended: Linux
        wakes it for that from 6.18 on, and before that reads all ones where
        its power is off.  Source: Linux, drivers/pci/pci-sysfs.c
        (pci_config_pm_runtime_get in current_link_speed_show).
    """
    folder = f"{DEVICES}/{address}"
    power, runtime, *errors = tree.gather(folder, _KEPT)[0]
    status = _one_of(runtime, _RUNTIME_STATUSES)
    correctable, nonfatal, fatal = map(_counters, errors)
    link, port, is_dead = NO_LINK, None, False
    if status in _ASLEEP and not may_wake:
        link = Link(*(_NOT_WOKEN,) * 4)
    else:
        link, is_dead = _link(tree, folder)
        if link is not NO_LINK:
            port = _port(tree, folder)
            # To read the link woke it.
            power, runtime = tree.gather(folder, _KEPT[:2])[0]
            status = _one_of(runtime, _RUNTIME_STATUSES)
    return FunctionHealth(
        link=link,
        port=port,
        power_state=_one_of(power, _POWER_STATES),
        runtime_status=status,
        is_dead=is_dead,
        correctable=correctable,
        nonfatal=nonfatal,
        fatal=fatal,
    )


def _link(tree: Tree, folder: str) -> tuple[Link, bool]:
    """Return the link, and whether it reads all ones."""
    speed, width, max_speed, max_width = tree.gather(folder, _LINK)[0]
    if width is MISSING and speed is MISSING:
        return NO_LINK, False
    is_dead = not isinstance(width, Unknown) and decoded(width) == str(
        _ALL_ONES
    )
    link = Link(
        _speed(speed), _width(width), _speed(max_speed), _width(max_width)
    )
    return link, is_dead


def _port(tree: Tree, folder: str) -> LinkMaximum | None:
    """Return what the bridge above a function supports."""
    path = tree.real(folder)
    if isinstance(path, Unknown):
        return None
    above = path.rpartition("/")[0]
    if not sysfs_path.functions(above):
        return None
    speed, width = tree.gather(above, _MAXIMUM)[0]
    return LinkMaximum(_speed(speed), _width(width))


def _speed(data: bytes | Unknown) -> float | Unknown | None:
    """Return the number of ``16.0 GT/s PCIe``; old kernels name no bus."""
    if isinstance(data, Unknown):
        return None if data is MISSING else data
    match = _SPEED.fullmatch(decoded(data))
    if match is None:
        return Unknown(Why.MALFORMED, decoded(data)[:40])
    return float(match[1])


def _width(data: bytes | Unknown) -> int | Unknown | None:
    if isinstance(data, Unknown):
        return None if data is MISSING else data
    text = decoded(data)
    is_number = text.isascii() and text.isdecimal() and len(text) < 4
    if not is_number or int(text) > _MOST_LANES:
        return Unknown(Why.MALFORMED, text[:40])
    return int(text)


def _one_of(
    data: bytes | Unknown, texts: frozenset[str]
) -> str | Unknown | None:
    if isinstance(data, Unknown):
        return None if data is MISSING else data
    text = decoded(data)
    return text if text in texts else Unknown(Why.MALFORMED, text[:40])


def _counters(data: bytes | Unknown) -> AerCounters | Unknown | None:
    return None if data is MISSING else aer_counters.parse(data)

"""Which resets a unit needs after a guest, and whether it is clean then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.reset_family import is_lost_by_reset
from gpu_passthrough_plugin.model.unit import Unit

# These reset everything below a bridge, so the kernel refuses them for a
# function that is not alone there; the hot reset resets all of them.
# Source: kernel, drivers/pci/pci.c (pci_reset_bus_function).
_SHARED = frozenset({"bus", "cxl_bus"})
# The vendor id that is read where no device responds.  Source: PCI Local
# Bus Specification 3.0, 6.1.
_NO_DEVICE = 0xFFFF

Methods = tuple[str, ...] | Unknown


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionReset:
    """Reset one function through sysfs ``reset``."""

    address: Address

    def __str__(self) -> str:
        return f"function reset of {self.address}"


@dataclasses.dataclass(frozen=True, slots=True)
class HotReset:
    """Reset the bus of ``address`` and every function on it, through vfio.

    :param iommu_group: the group of all functions on that bus.
    """

    address: Address
    iommu_group: int

    def __str__(self) -> str:
        return (
            f"bus reset of {self.address} and the other functions on its bus"
        )


Reset = FunctionReset | HotReset


def plan(unit: Unit, methods: Mapping[Address, Methods]) -> tuple[Reset, ...]:
    """Return the resets of one unit: its buses first, then single functions.

    A bus is reset unless each of its functions can be reset alone.

    :param methods: sysfs ``reset_method`` of the endpoints; a function that
        is missing here is taken for one that cannot be reset alone.
    """
    buses: dict[tuple[int, int], list[Address]] = {}
    for function in unit.functions:
        address = function.address
        buses.setdefault((address.domain, address.bus), []).append(address)
    hot: list[Reset] = []
    alone: list[Reset] = []
    for addresses in buses.values():
        if all(_resets_alone(methods.get(a, MISSING)) for a in addresses):
            alone += [FunctionReset(a) for a in addresses]
        else:
            hot.append(HotReset(addresses[0], unit.iommu_group))
    return (*hot, *alone)


def _resets_alone(methods: Methods) -> bool:
    """Return whether a function is known to have a reset of its own."""
    return not isinstance(methods, Unknown) and bool(set(methods) - _SHARED)


def losses(unit: Unit) -> tuple[str, ...]:
    """Return a line for each function that its reset leaves unusable."""
    return tuple(
        f"{function.address} cannot be used again before the host reboots: a"
        " reset by VFIO leaves it dead"
        for function in unit.functions
        if is_lost_by_reset(function.vendor_id, function.product_id)
    )


def faults(
    unit: Unit,
    identities: Mapping[Address, Identity | Unknown],
    failures: Sequence[str],
) -> tuple[str, ...]:
    """Return why a unit is not clean, a line each; empty if it is clean.

    :param identities: of every endpoint, read from config space.
    :param failures: resets that the kernel refused, a line each.
    """
    lines = list(failures)
    for function in unit.functions:
        identity = identities[function.address]
        published = Identity(function.vendor_id, function.product_id)
        if isinstance(identity, Unknown):
            lines.append(
                f"whether {function.address} responds is unknown: {identity}"
            )
        elif identity.vendor_id == _NO_DEVICE:
            lines.append(
                f"{function.address} does not respond: its config space reads"
                " ff"
            )
        elif identity != published:
            lines.append(
                f"{function.address} reads {identity.vendor_id:04x}:"
                f"{identity.product_id:04x}; expected"
                f" {published.vendor_id:04x}:{published.product_id:04x}"
            )
    return tuple(lines)

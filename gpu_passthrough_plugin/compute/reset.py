"""Which resets a unit gets after a guest, and whether it is clean then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.unit import Unit

# These reset all that is below a bridge, so that the kernel refuses them
# for a function that has company there; the hot reset does it for all.
# Source: kernel, drivers/pci/pci.c (pci_reset_bus_function).
_SHARED = frozenset({"bus", "cxl_bus"})
# What a read that nobody answers gives.  Source: PCI Local Bus
# Specification 3.0, 6.1.
_NOBODY = 0xFFFF

Methods = tuple[str, ...] | Unknown


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionReset:
    """Reset one function through sysfs ``reset``."""

    address: Address

    def __str__(self) -> str:
        return f"function reset of {self.address}"


@dataclasses.dataclass(frozen=True, slots=True)
class HotReset:
    """Reset the whole bus of ``address`` through vfio, with all on it.

    :param iommu_group: that all functions on that bus belong to.
    """

    address: Address
    iommu_group: int

    def __str__(self) -> str:
        return f"bus reset of {self.address} and all beside it"


Reset = FunctionReset | HotReset


def plan(unit: Unit, methods: Mapping[Address, Methods]) -> tuple[Reset, ...]:
    """The resets of one unit: its buses first, then function by function.

    A bus whose functions can all reset alone is left alone.  Companions
    that cannot are covered by their bus.

    :param methods: sysfs ``reset_method`` of the endpoints; one that is
        not in it is taken for one that cannot reset alone.
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
    """Whether it names a reset of its own; unknown or none is no."""
    return not isinstance(methods, Unknown) and bool(set(methods) - _SHARED)


def faults(
    unit: Unit,
    identities: Mapping[Address, Identity | Unknown],
    failures: Sequence[str],
) -> tuple[str, ...]:
    """Why the unit is not clean; empty when it is.

    :param identities: of every endpoint, read from config space.
    :param failures: resets that the kernel refused, one line each.
    """
    lines = list(failures)
    for function in unit.functions:
        identity = identities[function.address]
        published = Identity(function.vendor_id, function.product_id)
        if isinstance(identity, Unknown):
            lines.append(
                f"whether {function.address} answers is unknown: {identity}"
            )
        elif identity.vendor_id == _NOBODY:
            lines.append(
                f"{function.address} does not answer: its config space"
                " reads ff"
            )
        elif identity != published:
            lines.append(
                f"{function.address} reads {identity.vendor_id:04x}:"
                f"{identity.product_id:04x}; it was"
                f" {published.vendor_id:04x}:{published.product_id:04x}"
            )
    return tuple(lines)

"""Which resets a unit needs after a guest, and whether it is clean then."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.function_health import NO_LINK, ResetState
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from gpu_passthrough_plugin.model.reset_family import (
    distrusted,
    family,
    is_lost_by_reset,
)
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction

# Resets of one function, in the order in which they are tried: what was made
# for the very device first, and last what only takes its power down.  All
# others reset everything below a bridge, so the kernel refuses them for a
# function that is not alone there.  It lists ``bus`` for function 0 of a card
# all the same: it asked before it had seen the other functions.
# Source: Linux, drivers/pci/pci.c (pci_reset_fn_methods,
# pci_parent_bus_reset); NVIDIA/open-gpu-kernel-modules#1353.
_OWN = ("device_specific", "acpi", "flr", "af_flr", "pm")
_BUS = "bus"
# The vendor id that is read where no device responds.  Source: PCI Local
# Bus Specification 3.0, 6.1.
_NO_DEVICE = 0xFFFF

Methods = tuple[str, ...] | Unknown


class OwnResets(NamedTuple):
    """What sysfs has of the resets of one function.

    :param methods: ``reset_method``; ``MISSING`` where the function cannot
        be reset alone, or the kernel is older than 5.15.
    :param has_reset: whether there is a file ``reset``.
    """

    methods: Methods
    has_reset: bool = False


class Neighbour(NamedTuple):
    """A function that the reset of a unit's bus resets as well.

    :param driver: None when no driver is bound.
    """

    address: Address
    iommu_group: int | Unknown | None
    driver: str | Unknown | None

    def __str__(self) -> str:
        place = f"group {self.iommu_group}, on {self.driver or 'no driver'}"
        return f"{self.address} ({place})"


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionReset:
    """Reset one function through sysfs ``reset``.

    :param methods: tried in this order; empty for the kernel's own order.
    """

    address: Address
    methods: tuple[str, ...] = ()

    def title(self, method: str | None) -> str:
        """Return what is told of a reset by this method."""
        if method is None:
            return (
                f"reset of {self.address} in the kernel's own order, as it has"
                " no reset_method"
            )
        return f"{method} reset of {self.address}"


@dataclasses.dataclass(frozen=True, slots=True)
class HotReset:
    """Reset the bus of ``address`` and every function on it, through vfio.

    :param iommu_group: the group of the unit.
    :param others: further groups with functions on that bus.
    """

    address: Address
    iommu_group: int
    others: tuple[int, ...] = ()

    def __str__(self) -> str:
        return (
            f"bus reset of {self.address} and the other functions on its bus"
        )


class BusReset(NamedTuple):
    """How the functions of a unit on one bus are reset.

    :param alone: a reset of each function; empty where one has none.
    :param hot: what follows where there is none, or one fails; None where
        the bus must not be reset.
    :param refusal: why it must not.
    """

    alone: tuple[FunctionReset, ...]
    hot: HotReset | None
    refusal: str = ""


def plan(
    unit: Unit,
    resets: Mapping[Address, OwnResets],
    *,
    tells_methods: bool = True,
    neighbours: Mapping[Address, Sequence[Neighbour]] | None = None,
    ours: Collection[Address] = (),
) -> tuple[BusReset, ...]:
    """Return the resets of one unit: buses with no other reset first.

    A bus is reset where not each of its functions can be reset alone, and
    where everything below its bridge is given back by one consumer.

    :param resets: of the endpoints; a function that is missing here is taken
        for one that cannot be reset alone.
    :param tells_methods: whether this kernel has ``reset_method``.
    :param neighbours: functions that are no part of the unit and below the
        bridge that is nearest to one of it, by the unit's function.
    :param ours: functions of other units that the consumer gives back now.
    """
    buses: dict[tuple[int, int], list[UnitFunction]] = {}
    for function in unit.functions:
        address = function.address
        buses.setdefault((address.domain, address.bus), []).append(function)
    made = [
        _of_bus(
            unit,
            functions,
            [
                _alone(f, resets.get(f.address, OwnResets(MISSING)),
                       tells_methods=tells_methods)
                for f in functions
            ],
            (neighbours or {}).get(functions[0].address, ()),
            ours,
        )
        for functions in buses.values()
    ]  # fmt: skip
    return tuple(sorted(made, key=lambda bus: bool(bus.alone)))


def _of_bus(
    unit: Unit,
    functions: Sequence[UnitFunction],
    alone: Sequence[FunctionReset | None],
    below: Sequence[Neighbour],
    ours: Collection[Address],
) -> BusReset:
    address = functions[0].address
    own = tuple(reset for reset in alone if reset is not None)
    own = own if len(own) == len(alone) else ()
    for function in functions:
        row = family(function.vendor_id, function.product_id)
        if row is not None and _BUS in row.distrusts:
            return BusReset(
                own,
                None,
                f"the bus of {function.address} is not reset: {row.behaviour}",
            )
    strangers = [n for n in below if n.address not in ours]
    if strangers:
        return BusReset(
            own,
            None,
            f"the bus of {address} is not reset: that would reset"
            f" {', '.join(map(str, strangers))}, which this instance does not"
            " give back",
        )
    groups = {n.iommu_group for n in below} - {unit.iommu_group}
    others = tuple(sorted(g for g in groups if isinstance(g, int)))
    return BusReset(own, HotReset(address, unit.iommu_group, others))


def _alone(
    function: UnitFunction, resets: OwnResets, *, tells_methods: bool
) -> FunctionReset | None:
    """Return a function's own reset; None if it is not known to have one."""
    not_used = distrusted(
        function.vendor_id, function.product_id, function.class_code
    )
    if resets.methods == MISSING and not tells_methods:
        # Which one the kernel takes is not known.
        is_trusted = resets.has_reset and not not_used
        return FunctionReset(function.address) if is_trusted else None
    if isinstance(resets.methods, Unknown):
        return None
    methods = tuple(
        method
        for method in _OWN
        if method in resets.methods and method not in not_used
    )
    return FunctionReset(function.address, methods) if methods else None


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


def damages(
    before: Mapping[Address, ResetState], after: Mapping[Address, ResetState]
) -> tuple[str, ...]:
    """Return what a reset damaged, a line each; empty for nothing.

    What was not read before or after damages nothing.

    :param before: of every endpoint, right before its reset.
    :param after: of every endpoint that responds after it.
    """
    return tuple(
        f"the BARs of {address} are not as they were before the reset: the"
        " kernel did not restore its config space"
        for address in sorted(before.keys() & after.keys())
        if _differ(before[address].bars, after[address].bars)
    )


def _differ(before: object, after: object) -> bool:
    are_read = not isinstance(before, Unknown) and not isinstance(
        after, Unknown
    )
    return are_read and before != after


def links(
    before: Mapping[Address, ResetState], after: Mapping[Address, ResetState]
) -> Iterator[str]:
    """Yield the link of each endpoint that has one, and what it was before."""
    for address in sorted(after):
        link = after[address].health.link
        if link == NO_LINK:
            continue
        was = before[address].health.link if address in before else NO_LINK
        is_same = str(was) == str(link) or was == NO_LINK
        yield f"link of {address}: {link}{'' if is_same else f' (was {was})'}"

"""Which devices for one use may be cleaned and given back: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.one_time_use import PciProvider
from gpu_passthrough_plugin.model.unit import Unit


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """Devices that wait to be given back, and are cleaned together.

    :param providers: those that wait.
    :param unit: the group that they are in; None where this host has no
        assignable group with them.
    :param why_left: why nothing is done about them; empty where it is.
    """

    providers: tuple[PciProvider, ...]
    unit: Unit | None
    why_left: str = ""


def waiting(
    providers: Collection[PciProvider], units: Iterable[Unit]
) -> tuple[Waiting, ...]:
    """Return the devices that wait, by the group that they are in.

    A group is cleaned as a whole.  Nobody may get any of it meanwhile: every
    device of it that Placement has must be reserved, and nobody's.

    :param providers: all that Placement has of this host.
    :param units: of this host's assignable groups.
    """
    by_function = {f.address: unit for unit in units for f in unit.functions}
    grouped: dict[Address, list[PciProvider]] = {}
    for provider in providers:
        unit = by_function.get(provider.address)
        key = unit.key.address if unit else provider.address
        grouped.setdefault(key, []).append(provider)
    return tuple(
        _waiting(grouped[key], by_function.get(key))
        for key in sorted(grouped)
        if any(provider.waits for provider in grouped[key])
    )


def _waiting(members: Collection[PciProvider], unit: Unit | None) -> Waiting:
    providers = tuple(provider for provider in members if provider.waits)
    if unit is None:
        return Waiting(
            providers,
            None,
            "this host has no assignable IOMMU group with it: it is not"
            " cleaned; see 'gpu-passthrough group list'",
        )
    for other in members:
        if other.consumers:
            return Waiting(
                providers,
                unit,
                f"{other.address} of IOMMU group {unit.iommu_group} is"
                f" allocated to {', '.join(other.consumers)}",
            )
        if not other.is_reserved:
            return Waiting(
                providers,
                unit,
                f"{other.address} of IOMMU group {unit.iommu_group} is offered"
                " by Placement, and may be in use at any time: set"
                " one_time_use for the whole group, as 'gpu-passthrough nova"
                " config --one-time-use yes' does",
            )
    return Waiting(providers, unit)

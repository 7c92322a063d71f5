"""Whether Placement has this driver's classes and traits, in which layout.

Layout 1 had no reservations; ``sync`` brings it to layout 2.
"""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    providers,
    reading,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Service,
    retry_changed,
)

_WITHOUT_RESERVATIONS = 1
# How many units a refusal names.
_NAMED_UNITS = 3


def version(service: Service) -> str:
    """Return the microversion that is used; empty before ``sync``."""
    return service.microversion if _layout(service) else ""


def check(service: Service) -> None:
    """Raise if the layout in Placement is not this code's.

    :raises Unavailable: when it is older, newer, or there is none.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout < names.LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} does not have the resource classes and"
            " traits of this release's ledger; run 'gpu-passthrough db sync'"
        )


def sync(service: Service) -> str:
    """Create this driver's classes and traits; return the microversion.

    :raises Unavailable: when a newer release created them.
    :raises Refused: when an older release did, and units are in use.
    :raises Retry: when another client changed a unit meanwhile.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout == _WITHOUT_RESERVATIONS:
        _allow_reservations(service)
    service.create_classes({names.HOST_CLASS, names.STATE_COUNTER})
    service.create_traits(
        {names.HOST_TRAIT, names.UNIT_TRAIT, names.CORDONED_TRAIT}
    )
    # The last one: it says that the others exist.
    service.create_traits({f"{names.LAYOUT_PREFIX}{names.LAYOUT}"})
    return service.microversion


def _allow_reservations(service: Service) -> None:
    """Let the state counters of all units accept reservations and holds."""
    units = reading.read_fleet(service).units
    # In layout 1, a hold was an allocation of as much as the count.
    used = [
        s
        for s in units
        if not s.counter.is_idle or s.usage.amount >= s.counter.count
    ]
    if used:
        listed = ", ".join(str(s.record.unit.key) for s in used[:_NAMED_UNITS])
        more = ", …" if len(used) > _NAMED_UNITS else ""
        raise errors.Refused(
            f"Placement {service.name} has {len(used)} units in use that an"
            f" older release allocated ({listed}{more}); release them with"
            " that release, then run 'gpu-passthrough db sync' again"
        )
    for unit in units:
        if unit.usage.amount:
            consumers.end_holds(service, unit.uuid, unit.counter)
            raise retry_changed(
                f"unit {unit.record.unit.key}", "a hold that ended"
            )
        generation = providers.unchanged_generation(service, unit)
        inventory = unit.counter.inventory(unit.record.unit.resource_class)
        providers.put_inventory(service, unit.uuid, generation, inventory)


def _layout(service: Service) -> int:
    prefix = names.LAYOUT_PREFIX
    listed = service.get("/traits", ("name", f"startswith:{prefix}"))
    layouts = (name.removeprefix(prefix) for name in listed["traits"])
    # Any client can create a trait with this prefix.
    return max(
        (int(n) for n in layouts if n.isascii() and n.isdigit()), default=0
    )


def _refuse_newer(service: Service, layout: int) -> None:
    if layout > names.LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} has this ledger in layout {layout},"
            f" and this release knows layouts up to {names.LAYOUT}; upgrade"
            " gpu-passthrough-plugin on this host"
        )

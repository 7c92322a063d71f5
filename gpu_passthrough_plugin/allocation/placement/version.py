"""Whether Placement knows our classes and traits, and how we lay them out."""

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

# The layout in which a claim was no bid first.
_WITHOUT_BIDS = 1
_FEW = 3


def found(service: Service) -> str:
    """The microversion used; empty as long as ``sync`` was not run."""
    return service.microversion if _layout(service) else ""


def check(service: Service) -> None:
    """Return when Placement has what this code needs.

    :raises Unavailable: when it has not, or what a newer release made.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout < names.LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} does not know this ledger's classes"
            " and traits yet, or those of an older release; run"
            " 'gpu-passthrough db sync'"
        )


def sync(service: Service) -> str:
    """Make the classes and traits of ours; the microversion used.

    :raises Unavailable: when a newer release made them.
    :raises Refused: when an older one did, and units are in use.
    :raises Retry: when others changed a unit meanwhile.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout == _WITHOUT_BIDS:
        _let_bid(service)
    service.create_classes({names.HOST_CLASS, names.STATE_COUNTER})
    service.create_traits(
        {names.HOST_TRAIT, names.UNIT_TRAIT, names.CORDONED_TRAIT}
    )
    # The last one: it says that the others are there.
    service.create_traits({f"{names.LAYOUT_PREFIX}{names.LAYOUT}"})
    return service.microversion


def _let_bid(service: Service) -> None:
    """Have the leases of all units take bids and holds."""
    units = reading.read_fleet(service).units
    # There, what is held is taken by as much as the lease counts.
    used = [
        s
        for s in units
        if not s.counter.is_idle or s.usage.amount >= s.counter.count
    ]
    if used:
        some = ", ".join(str(s.record.unit.key) for s in used[:_FEW])
        some += ", …" if len(used) > _FEW else ""
        raise errors.Refused(
            f"Placement {service.name} has {len(used)} units in use, as an"
            f" older release wrote it down ({some});"
            " release them with that release, then run 'gpu-passthrough db"
            " sync' again"
        )
    for unit in units:
        if unit.usage.amount:
            consumers.end_holds(service, unit.uuid, unit.counter)
            raise retry_changed(
                f"unit {unit.record.unit.key}", "a hold that ended"
            )
        generation = providers.unchanged_generation(service, unit)
        resource_class = unit.record.unit.resource_class
        inventory = unit.counter.inventory(resource_class)
        providers.put_inventory(service, unit.uuid, generation, inventory)


def _layout(service: Service) -> int:
    listed = service.get(
        "/traits", ("name", f"startswith:{names.LAYOUT_PREFIX}")
    )
    return max(
        (
            int(name.removeprefix(names.LAYOUT_PREFIX))
            for name in listed["traits"]
        ),
        default=0,
    )


def _refuse_newer(service: Service, layout: int) -> None:
    if layout > names.LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} has this ledger in layout {layout},"
            f" newer than {names.LAYOUT}, the newest that this release"
            " knows; upgrade gpu-passthrough-plugin on this host"
        )

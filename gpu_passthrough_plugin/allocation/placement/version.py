"""Whether Placement knows our classes and traits, and how we lay them out."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    providers,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Service,
    changed,
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
    if layout < names.KNOWN_LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} does not know this ledger's classes"
            " and traits yet, or those of an older release; run"
            " 'gpu-passthrough db sync'"
        )


def sync(service: Service) -> str:
    """Make the classes and traits of ours; the microversion used.

    :raises Unavailable: when a newer release made them.
    :raises Refused: when an older one did, and units are in use.
    :raises Again: when others changed a unit meanwhile.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout == _WITHOUT_BIDS:
        _let_bid(service)
    service.make_classes({names.HOST, names.LEASE})
    service.make_traits({names.IS_HOST, names.IS_UNIT, names.IS_DISABLED})
    # The last one: it says that the others are there.
    service.make_traits({f"{names.LAYOUT}{names.KNOWN_LAYOUT}"})
    return service.microversion


def _let_bid(service: Service) -> None:
    """Have the leases of all units take bids and holds."""
    units = reading.read(service).units
    # There, what is held is taken by as much as the lease counts.
    used = [
        s
        for s in units
        if not s.lease.is_nobodys or s.taken.amount >= s.lease.count
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
        if unit.taken.amount:
            consumers.end(service, unit.uuid, unit.lease)
            raise changed(f"unit {unit.record.unit.key}", "a hold that ended")
        generation = providers.unchanged(service, unit)
        resource_class = unit.record.unit.resource_class
        inventory = state_counter.inventory(unit.lease, resource_class)
        providers.put_inventory(service, unit.uuid, generation, inventory)


def _layout(service: Service) -> int:
    listed = service.get("/traits", ("name", f"startswith:{names.LAYOUT}"))
    return max(
        (int(name.removeprefix(names.LAYOUT)) for name in listed["traits"]),
        default=0,
    )


def _refuse_newer(service: Service, layout: int) -> None:
    if layout > names.KNOWN_LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} has this ledger in layout {layout},"
            f" newer than {names.KNOWN_LAYOUT}, the newest that this release"
            " knows; upgrade gpu-passthrough-plugin on this host"
        )

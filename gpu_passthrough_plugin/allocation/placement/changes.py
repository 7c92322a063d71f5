"""One unit of a plan, carried out."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.allocation.inventory import Change
from gpu_passthrough_plugin.allocation.placement import (
    ends,
    facts,
    lease,
    names,
    reading,
    text,
)
from gpu_passthrough_plugin.allocation.placement.failure import detail
from gpu_passthrough_plugin.allocation.placement.fleet import Stored
from gpu_passthrough_plugin.allocation.placement.lease import (
    Inventory,
    Lease,
)
from gpu_passthrough_plugin.allocation.placement.providers import (
    changed,
    made,
    put_inventory,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.unit import State, Unit


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """What lets a unit be claimed, once it is sure that it may be.

    :param generation: of its provider, until then.
    """

    uuid: str
    generation: int
    inventory: Inventory


def open_(service: Service, openings: list[Opening]) -> None:
    """Let units be claimed.

    :raises Again: when others changed one of them meanwhile.
    """
    for opening in openings:
        put_inventory(
            service, opening.uuid, opening.generation, opening.inventory
        )


def remove(service: Service, stored: Stored) -> None:
    """Take a unit away.

    :raises Again: when it is not what it was read as.
    """
    if stored.taken.takers:
        ends.turn_down(service, stored.uuid)
        raise changed(f"unit {stored.record.unit.key}", "somebody's bid")
    generation = unchanged(service, stored)
    # Whoever is claiming it is refused from then on; a DELETE has no guard.
    put_inventory(service, stored.uuid, generation, {})
    reply = service.delete(f"/resource_providers/{stored.uuid}")
    if reply.status == 409:
        raise changed(f"unit {stored.record.unit.key}", detail(reply))


def change(
    service: Service, stored: Stored, planned: Change
) -> Opening | None:
    """Make a unit what it is planned to be; how to open it, if that is left.

    :raises Again: when it is not what it was read as.
    """
    after = planned.after
    generation = unchanged(service, stored)
    traits = facts.traits(after.unit, after.reason)
    said = text.traits(facts.REASON, [after.reason])
    if after.state is State.QUARANTINED and not planned.before.reason:
        before = facts.traits(planned.before.unit) | said
        generation = put_traits(service, stored.uuid, generation, before)
    wanted = lease.moved(
        stored.lease, stored.taken, after.state, is_missing=after.is_missing
    )
    is_opening = after.state is State.FREE and not after.is_missing
    first = _closed(wanted) if is_opening else wanted
    of = after.unit.resource_class
    generation = put_inventory(
        service, stored.uuid, generation, lease.inventory(first, of)
    )
    if traits != facts.traits(planned.before.unit) or said:
        generation = put_traits(service, stored.uuid, generation, traits)
    if not is_opening:
        return None
    return Opening(stored.uuid, generation, lease.inventory(wanted, of))


def add(service: Service, root: str, unit: Unit, first: Lease) -> Opening:
    """Make a unit's provider; how to open it.

    :param root: UUID of the compute node's provider.
    :param first: its lease.
    :raises Again: when others make it just now.
    """
    uuid, generation = made(service, names.unit_provider(unit.key), root)
    generation = put_traits(service, uuid, generation, facts.traits(unit))
    inventory = lease.inventory(first, unit.resource_class)
    return Opening(uuid, generation, inventory)


def unchanged(service: Service, stored: Stored) -> int:
    """The generation of a unit's provider, where it is what it was.

    :raises Again: when it is not.
    """
    path = f"/resource_providers/{stored.uuid}/inventories"
    found = service.found(path)
    own = found["inventories"].get(names.LEASE) if found else None
    if found is None or own is None or own["total"] != stored.lease.total:
        raise changed(f"unit {stored.record.unit.key}", "another count")
    generation = int(found["resource_provider_generation"])
    has = reading.holders(service, stored.uuid).values()
    if lease.taken(has) != stored.taken:
        raise changed(f"unit {stored.record.unit.key}", "another holder")
    return generation


def _closed(found: Lease) -> Lease:
    """The same, but that nobody can claim it."""
    return dataclasses.replace(found, is_missing=True)

"""Carrying out what ``allocation.inventory`` decided, provider by provider.

No request spans them all, so that the order is what keeps the ledger right
when this dies anywhere, or runs twice at once for one host:

1. The host's generation is counted on.  Its units are read after that: one
   who counted before is seen, or sees that others counted since.
2. What goes, goes; what changes is closed, changed, and stays closed; what
   comes has no inventory yet.  Nobody can claim what is closed.
3. If the host's generation is the same still, what is closed is opened.
   If not, all of it is done again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory, validation
from gpu_passthrough_plugin.allocation.inventory import Change, Plan
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    providers,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.providers import (
    made,
    put_inventory,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.reading import (
    Fleet,
    Host,
    Stored,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Service,
    changed,
    detail,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    Inventory,
    Lease,
)
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.unit import State, Unit


def publish(service: Service, shown: Shown) -> SyncReport:
    """Make ``shown`` the inventory of its host; what that changed.

    :raises Refused: when another machine published under its name, or
        Nova reports the same functions.
    :raises Again: when others changed the same meanwhile.
    """
    host = providers.ensure(service, shown.host)
    validation.require_machine(host.machine, shown)
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if planned.is_empty and providers.host_traits(host, shown) == host.traits:
        return _report(planned, host.generation)
    is_counted = not planned.is_empty or shown.aggregates != host.aggregates
    generation = host.generation + is_counted
    highest = max((_highest(service, host), *_counts(found, planned)))
    version = put_inventory(
        service,
        host.node,
        host.version,
        state_counter.host_inventory(generation, highest),
    )
    version = providers.write(service, host, shown, version)
    # What others did before they could see that this began.
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if max(_counts(found, planned), default=0) > highest:
        raise changed(f"a unit of host {host.name}", "another count")
    openings = _carry_out(service, host, found, planned, highest)
    _require_version(service, host, version)
    open_(service, openings)
    return _report(planned, generation)


def _units(service: Service, host: Host, shown: Shown) -> Fleet:
    """The host's units, with no hold left of them that ended."""
    found = reading.read(service, host.name)
    known = {stored.uuid for stored in found.units}
    clear(service, host, known, shown.units)
    if any(stored.is_ended for stored in found.units):
        consumers.finish(service, found.units)
        found = reading.read(service, host.name)
    return found


def _plan(found: Fleet, shown: Shown) -> Plan:
    return inventory.plan([s.record for s in found.units], shown.units)


def _highest(service: Service, host: Host) -> int:
    """The highest count that a unit of the host had when it went."""
    found = service.get(f"/resource_providers/{host.node}/inventories")
    return state_counter.highest(found["inventories"])


def _counts(found: Fleet, planned: Plan) -> list[int]:
    """The counts of the units that go."""
    gone = {record.unit.key for record in planned.removed}
    return [s.lease.count for s in found.units if s.record.unit.key in gone]


def _carry_out(
    service: Service, host: Host, found: Fleet, planned: Plan, highest: int
) -> list[Opening]:
    """What goes first, what comes last: no function is in two units.

    :param highest: count of a unit that went; who comes begins after it,
        so that no record of a unit is one of its next life.
    """
    stored = {s.record.unit.key: s for s in found.units}
    for record in planned.removed:
        remove(service, stored[record.unit.key])
    openings = []
    for change in planned.changed:
        of = stored[change.before.unit.key]
        opening = alter(service, of, change)
        if opening is not None:
            openings.append(opening)
    for unit in planned.added:
        first = state_counter.first(highest)
        openings.append(add(service, host.root, unit, first))
    return openings


def _require_version(service: Service, host: Host, version: int) -> None:
    """Return when nobody else publishes for the same host meanwhile."""
    found = service.get(f"/resource_providers/{host.node}")
    if found["generation"] != version:
        raise changed(f"the inventory of host {host.name}", "another began")


def _report(planned: Plan, generation: int) -> SyncReport:
    return SyncReport(
        added=planned.added,
        changed=tuple(change.after.unit for change in planned.changed),
        removed=tuple(record.unit for record in planned.removed),
        missing=planned.missing,
        generation=generation,
        withheld=planned.withheld,
    )


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
        consumers.turn_down(service, stored.uuid)
        raise changed(f"unit {stored.record.unit.key}", "somebody's bid")
    generation = providers.unchanged(service, stored)
    # Whoever is claiming it is refused from then on; a DELETE has no guard.
    put_inventory(service, stored.uuid, generation, {})
    reply = service.delete(f"/resource_providers/{stored.uuid}")
    if reply.status == 409:
        raise changed(f"unit {stored.record.unit.key}", detail(reply))


def alter(service: Service, stored: Stored, planned: Change) -> Opening | None:
    """Make a unit what it is planned to be; how to open it, if that is left.

    :raises Again: when it is not what it was read as.
    """
    after = planned.after
    generation = providers.unchanged(service, stored)
    traits = names.unit_traits(after.unit, after.reason)
    said = names.text_traits(names.REASON, [after.reason])
    if after.state is State.QUARANTINED and not planned.before.reason:
        before = names.unit_traits(planned.before.unit) | said
        generation = put_traits(service, stored.uuid, generation, before)
    wanted = state_counter.moved(
        stored.lease, stored.taken, after.state, is_missing=after.is_missing
    )
    is_opening = after.state is State.FREE and not after.is_missing
    first = _closed(wanted) if is_opening else wanted
    of = after.unit.resource_class
    generation = put_inventory(
        service, stored.uuid, generation, state_counter.inventory(first, of)
    )
    if traits != names.unit_traits(planned.before.unit) or said:
        generation = put_traits(service, stored.uuid, generation, traits)
    if not is_opening:
        return None
    return Opening(
        stored.uuid, generation, state_counter.inventory(wanted, of)
    )


def add(service: Service, root: str, unit: Unit, first: Lease) -> Opening:
    """Make a unit's provider; how to open it.

    :param root: UUID of the compute node's provider.
    :param first: its lease.
    :raises Again: when others make it just now.
    """
    uuid, generation = made(service, names.unit_provider(unit.key), root)
    generation = put_traits(service, uuid, generation, names.unit_traits(unit))
    inventory = state_counter.inventory(first, unit.resource_class)
    return Opening(uuid, generation, inventory)


def _closed(found: Lease) -> Lease:
    """The same, but that nobody can claim it."""
    return dataclasses.replace(found, is_missing=True)


def clear(
    service: Service, host: Host, known: Collection[str], units: Sequence[Unit]
) -> None:
    """Return when nobody else has these functions in Placement.

    What somebody left who died while he added a unit, is taken away if it
    is not to be added now.

    :param known: UUIDs of the host's units.
    :raises Refused: when Nova reports one of the functions itself.
    """
    addresses = {f.address for unit in units for f in unit.functions}
    wanted = {unit.key for unit in units}
    tree = service.get("/resource_providers", ("in_tree", host.root))
    for entry in tree["resource_providers"]:
        key = names.unit_of(entry["name"])
        if key is None or entry["uuid"] in known:
            continue
        traits = _traits(service, entry["uuid"])
        is_ours = names.IS_UNIT in traits
        if (
            key.address in addresses
            and not is_ours
            and not _is_bare(service, entry, traits)
        ):
            raise _two_ledgers(entry["name"], key.host)
        if is_ours and key not in wanted:
            _remove_leftover(service, entry["uuid"])


def _traits(service: Service, uuid: str) -> frozenset[str]:
    found = service.found(f"/resource_providers/{uuid}/traits")
    return frozenset(found["traits"]) if found else frozenset()


def _is_bare(service: Service, entry: Json, traits: frozenset[str]) -> bool:
    """Whether a provider is but a name: ours, a moment after it was made."""
    if traits:
        return False
    found = service.found(f"/resource_providers/{entry['uuid']}/inventories")
    return not found or not found["inventories"]


def _remove_leftover(service: Service, uuid: str) -> None:
    found = service.found(f"/resource_providers/{uuid}/inventories")
    if found is not None and not found["inventories"]:
        service.delete(f"/resource_providers/{uuid}")


def _two_ledgers(name: str, host: str) -> errors.Refused:
    return errors.Refused(
        f"Placement has a provider {name} that is not this ledger's: Nova"
        " reports that device itself, and two ledgers would hand it out"
        " twice; either leave it to Nova ([allocation] driver = sql, and"
        f" 'gpu-passthrough nova config'), or on host {host} take the device"
        " out of Nova's [pci] device_spec and delete that provider"
    )

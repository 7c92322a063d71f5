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
    ensure_provider,
    put_inventory,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.reading import (
    Fleet,
    Host,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Service,
    error_detail,
    retry_changed,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    Inventory,
    StateCounter,
)
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.unit import State, Unit


def publish(service: Service, shown: Shown) -> SyncReport:
    """Make ``shown`` the inventory of its host; what that changed.

    :raises Refused: when another machine published under its name, or
        Nova reports the same functions.
    :raises Retry: when others changed the same meanwhile.
    """
    host = providers.ensure_host(service, shown.host)
    validation.require_machine(host.machine, shown)
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if (
        planned.is_empty
        and providers.published_host_traits(host, shown) == host.traits
    ):
        return _report(planned, host.generation)
    is_counted = not planned.is_empty or shown.aggregates != host.aggregates
    generation = host.generation + is_counted
    highest = max((_highest(service, host), *_counts(found, planned)))
    version = put_inventory(
        service,
        host.provider,
        host.provider_generation,
        state_counter.host_inventory(generation, highest),
    )
    version = providers.write_host_metadata(service, host, shown, version)
    # What others did before they could see that this began.
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if max(_counts(found, planned), default=0) > highest:
        raise retry_changed(f"a unit of host {host.name}", "another count")
    deferred = _carry_out(service, host, found, planned, highest)
    _require_version(service, host, version)
    put_deferred(service, deferred)
    return _report(planned, generation)


def _units(service: Service, host: Host, shown: Shown) -> Fleet:
    """The host's units, with no hold left of them that ended."""
    found = reading.read_fleet(service, host.name)
    known = {stored.uuid for stored in found.units}
    _require_no_foreign_provider(service, host, known, shown.units)
    if any(stored.has_leftovers for stored in found.units):
        consumers.remove_leftovers(service, found.units)
        found = reading.read_fleet(service, host.name)
    return found


def _plan(found: Fleet, shown: Shown) -> Plan:
    return inventory.plan([s.record for s in found.units], shown.units)


def _highest(service: Service, host: Host) -> int:
    """The highest count that a unit of the host had when it went."""
    found = service.get(f"/resource_providers/{host.provider}/inventories")
    return state_counter.highest_count(found["inventories"])


def _counts(found: Fleet, planned: Plan) -> list[int]:
    """The counts of the units that go."""
    gone = {record.unit.key for record in planned.removed}
    return [s.counter.count for s in found.units if s.record.unit.key in gone]


def _carry_out(
    service: Service, host: Host, found: Fleet, planned: Plan, highest: int
) -> list[DeferredInventory]:
    """What goes first, what comes last: no function is in two units.

    :param highest: count of a unit that went; who comes begins after it,
        so that no record of a unit is one of its next life.
    """
    stored = {s.record.unit.key: s for s in found.units}
    for record in planned.removed:
        _remove_unit(service, stored[record.unit.key])
    deferred = []
    for change in planned.changed:
        of = stored[change.before.unit.key]
        late = _change_unit(service, of, change)
        if late is not None:
            deferred.append(late)
    for unit in planned.added:
        first = state_counter.first_after(highest)
        deferred.append(_add_unit(service, host.root, unit, first))
    return deferred


def _require_version(service: Service, host: Host, version: int) -> None:
    """Return when nobody else publishes for the same host meanwhile."""
    found = service.get(f"/resource_providers/{host.provider}")
    if found["generation"] != version:
        raise retry_changed(
            f"the inventory of host {host.name}", "another began"
        )


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
class DeferredInventory:
    """What lets a unit be claimed, once it is sure that it may be.

    :param generation: of its provider, until then.
    """

    uuid: str
    generation: int
    inventory: Inventory


def put_deferred(service: Service, deferred: list[DeferredInventory]) -> None:
    """Let units be claimed.

    :raises Retry: when others changed one of them meanwhile.
    """
    for opening in deferred:
        put_inventory(
            service, opening.uuid, opening.generation, opening.inventory
        )


def _remove_unit(service: Service, stored: StoredUnit) -> None:
    """Take a unit away.

    :raises Retry: when it is not what it was read as.
    """
    if stored.usage.consumers:
        consumers.withdraw(service, stored.uuid)
        raise retry_changed(f"unit {stored.record.unit.key}", "somebody's bid")
    generation = providers.unchanged_generation(service, stored)
    # Whoever is claiming it is refused from then on; a DELETE has no guard.
    put_inventory(service, stored.uuid, generation, {})
    reply = service.delete(f"/resource_providers/{stored.uuid}")
    if reply.status == 409:
        raise retry_changed(
            f"unit {stored.record.unit.key}", error_detail(reply)
        )


def _change_unit(
    service: Service, stored: StoredUnit, planned: Change
) -> DeferredInventory | None:
    """Make a unit what it is planned to be; how to open it, if that is left.

    :raises Retry: when it is not what it was read as.
    """
    after = planned.after
    generation = providers.unchanged_generation(service, stored)
    traits = names.unit_traits(after.unit, after.reason)
    said = names.text_traits(names.REASON, [after.reason])
    if after.state is State.QUARANTINED and not planned.before.reason:
        before = names.unit_traits(planned.before.unit) | said
        generation = put_traits(service, stored.uuid, generation, before)
    wanted = stored.counter.moved(
        stored.usage, after.state, is_missing=after.is_missing
    )
    is_claimable = after.state is State.FREE and not after.is_missing
    first = _unclaimable(wanted) if is_claimable else wanted
    of = after.unit.resource_class
    generation = put_inventory(
        service, stored.uuid, generation, first.inventory(of)
    )
    if traits != names.unit_traits(planned.before.unit) or said:
        generation = put_traits(service, stored.uuid, generation, traits)
    if not is_claimable:
        return None
    return DeferredInventory(stored.uuid, generation, wanted.inventory(of))


def _add_unit(
    service: Service, root: str, unit: Unit, first: StateCounter
) -> DeferredInventory:
    """Make a unit's provider; how to open it.

    :param root: UUID of the compute node's provider.
    :param first: its lease.
    :raises Retry: when others make it just now.
    """
    uuid, generation = ensure_provider(
        service, names.unit_provider(unit.key), root
    )
    generation = put_traits(service, uuid, generation, names.unit_traits(unit))
    inventory = first.inventory(unit.resource_class)
    return DeferredInventory(uuid, generation, inventory)


def _unclaimable(found: StateCounter) -> StateCounter:
    """The same, but that nobody can claim it."""
    return dataclasses.replace(found, is_missing=True)


def _require_no_foreign_provider(
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
        key = names.unit_key_in(entry["name"])
        if key is None or entry["uuid"] in known:
            continue
        traits = _traits(service, entry["uuid"])
        is_ours = names.UNIT_TRAIT in traits
        if (
            key.address in addresses
            and not is_ours
            and not _is_bare(service, entry, traits)
        ):
            raise _two_ledgers(entry["name"], key.host)
        if is_ours and key not in wanted:
            _remove_leftover(service, entry["uuid"])


def _traits(service: Service, uuid: str) -> frozenset[str]:
    found = service.get_if_found(f"/resource_providers/{uuid}/traits")
    return frozenset(found["traits"]) if found else frozenset()


def _is_bare(service: Service, entry: Json, traits: frozenset[str]) -> bool:
    """Whether a provider is but a name: ours, a moment after it was made."""
    if traits:
        return False
    found = service.get_if_found(
        f"/resource_providers/{entry['uuid']}/inventories"
    )
    return not found or not found["inventories"]


def _remove_leftover(service: Service, uuid: str) -> None:
    found = service.get_if_found(f"/resource_providers/{uuid}/inventories")
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

"""Publishing a host's units: the plan of ``allocation.inventory``, applied.

No single request covers all providers of a host.  The order of requests
keeps the ledger right when a publisher dies, or two publish for one host:

1. Advance the host's generation, and read its units after that: a client
   that advanced it earlier is seen, or sees that it was advanced since.
2. Remove units; make changed ones unclaimable, and change them; create the
   providers of added ones without an inventory.  Nobody can claim these.
3. If the host's generation is still the same, let all of these be claimed.
   If not, do everything again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import events, inventory, validation
from gpu_passthrough_plugin.allocation.inventory import (
    InventoryPlan,
    Publication,
    RecordChange,
)
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    providers,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    Host,
    MalformedProvider,
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
    Usage,
)
from gpu_passthrough_plugin.model.allocation import MalformedUnit, SyncReport
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """What lets a unit be claimed, once its host's plan is carried out.

    :param generation: of the unit's provider until then.
    """

    uuid: str
    generation: int
    inventory: Inventory


def publish(service: Service, publication: Publication) -> SyncReport:
    """Make a publication its host's inventory; return what that changed.

    :raises Refused: when another machine published under this host name, or
        Nova reports one of the functions.
    :raises Retry: when another client changed the host or a unit meanwhile.
    """
    host = providers.ensure_host(service, publication.host)
    validation.require_same_machine(host.machine, publication)
    fleet = _read_units(service, host, publication)
    replaced = _replaced(service, fleet)
    plan = _plan(service, fleet, publication)
    traits = providers.published_traits(host, publication)
    if plan.is_empty and not replaced and traits == host.traits:
        return plan.report(host.generation)
    is_changed = (
        not plan.is_empty
        or bool(replaced)
        or publication.aggregates != host.aggregates
    )
    generation = host.generation + is_changed
    highest = max(
        _highest_removed(service, host), *_counts_to_remove(fleet, plan)
    )
    provider_generation = _put_host(
        service,
        host,
        publication,
        state_counter.host_inventory(generation, highest),
    )
    # Other clients may have changed units before they could notice this one.
    fleet = _read_units(service, host, publication)
    replaced = _replaced(service, fleet)
    plan = _plan(service, fleet, publication)
    if max(_counts_to_remove(fleet, plan)) > highest:
        raise retry_changed(f"a unit of host {host.name}", "another count")
    for malformed in fleet.malformed:
        if not malformed.consumers:
            _remove_malformed(service, malformed)
    counter = state_counter.first_after(highest)
    added = [
        inventory.new_record(unit, counter.count, replaced)
        for unit in plan.added
    ]
    openings = _carry_out(service, host, fleet, plan, added, counter)
    _require_only_publisher(service, host, provider_generation)
    for opening in openings:
        providers.put_inventory(
            service, opening.uuid, opening.generation, opening.inventory
        )
    dropped = [malformed for malformed, _ in replaced]
    return plan.report(generation, events.published(plan, added, dropped))


def _put_host(
    service: Service, host: Host, publication: Publication, counts: Inventory
) -> int:
    """Write what a host's provider has; return the provider's generation."""
    generation = providers.put_inventory(
        service, host.provider, host.provider_generation, counts
    )
    return providers.put_host_metadata(service, host, publication, generation)


def _read_units(
    service: Service, host: Host, publication: Publication
) -> Fleet:
    """Return a host's units, after removing what is left of ended holds."""
    fleet = reading.read_fleet(service, host.name)
    uuids = {stored.uuid for stored in fleet.units}
    _require_only_ledger(service, host, uuids, publication.units)
    had_orphans = consumers.remove_orphans(service, fleet.units)
    if had_orphans or any(s.has_leftovers for s in fleet.units):
        consumers.remove_leftovers(service, fleet.units)
        fleet = reading.read_fleet(service, host.name)
    return fleet


def _plan(
    service: Service, fleet: Fleet, publication: Publication
) -> InventoryPlan:
    held = [m for m in fleet.malformed if m.consumers]
    kept = [reading.describe(service, malformed)[1] for malformed in held]
    return inventory.plan(
        [s.record for s in fleet.units],
        publication.units,
        kept=frozenset().union(*kept),
    )


_Replaced = Sequence[tuple[MalformedUnit, Collection[str]]]


def _replaced(service: Service, fleet: Fleet) -> _Replaced:
    """Return the malformed units that no consumer has, with addresses."""
    idle = [m for m in fleet.malformed if not m.consumers]
    return [reading.describe(service, malformed) for malformed in idle]


def _remove_malformed(service: Service, malformed: MalformedProvider) -> None:
    """Remove the provider of a unit that cannot be read.

    :raises Retry: when it changed since it was read, or was reserved.
    """
    path = f"/resource_providers/{malformed.uuid}"
    provider = service.get_if_found(path)
    if provider is None:
        return
    providers.put_inventory(
        service, malformed.uuid, provider["generation"], {}
    )
    reply = service.delete(path)
    if reply.status == 409:
        subject = f"provider {malformed.uuid} of host {malformed.host}"
        raise retry_changed(subject, error_detail(reply))


def _highest_removed(service: Service, host: Host) -> int:
    """Return the highest count that any removed unit of a host had."""
    path = f"/resource_providers/{host.provider}/inventories"
    return state_counter.highest_count(service.get(path)["inventories"])


def _counts_to_remove(fleet: Fleet, plan: InventoryPlan) -> list[int]:
    """Return 0 and the counts of the units that a plan removes."""
    removed = {record.unit.key for record in plan.removed}
    return [
        0,
        *(m.count for m in fleet.malformed if not m.consumers),
        *(
            s.counter.count
            for s in fleet.units
            if s.record.unit.key in removed
        ),
    ]


def _carry_out(
    service: Service,
    host: Host,
    fleet: Fleet,
    plan: InventoryPlan,
    added: Sequence[UnitRecord],
    counter: StateCounter,
) -> list[Opening]:
    """Remove, change and add units; return what is left to be opened.

    In this order, no function is in two units at any time.

    :param added: the records of the units to add.
    :param counter: of a new unit: later than any removed unit's.
    """
    stored = {s.record.unit.key: s for s in fleet.units}
    for record in plan.removed:
        _remove(service, stored[record.unit.key])
    openings = []
    for change in plan.changed:
        unit = stored[change.before.unit.key]
        opening = _change(service, unit, change)
        if opening is not None:
            openings.append(opening)
    for record in added:
        openings.append(_add(service, host, record, counter))
    return openings


def _remove(service: Service, stored: StoredUnit) -> None:
    """Remove a unit that no consumer holds.

    :raises Retry: when it changed since it was read, or was reserved.
    """
    subject = f"unit {stored.record.unit.key}"
    if stored.usage.consumers:
        consumers.withdraw_reservations(service, stored.uuid)
        raise retry_changed(subject, "a reservation")
    generation = providers.unchanged_generation(service, stored)
    # From now on no claim gets it; the DELETE has no generation.
    providers.put_inventory(service, stored.uuid, generation, {})
    reply = service.delete(f"/resource_providers/{stored.uuid}")
    if reply.status == 409:
        raise retry_changed(subject, error_detail(reply))


def _change(
    service: Service, stored: StoredUnit, change: RecordChange
) -> Opening | None:
    """Change a unit as planned; return what is left to be opened, if any.

    :raises Retry: when it changed since it was read.
    """
    after = change.after
    resource_class = after.unit.resource_class
    generation = providers.unchanged_generation(service, stored)
    old_traits = names.unit_traits(change.before.unit)
    new_traits = names.unit_traits(after.unit, after.reason)
    reason = names.text_traits(names.QUARANTINE_REASON, [after.reason])
    if after.state is State.QUARANTINED and not change.before.reason:
        generation = providers.put_traits(
            service, stored.uuid, generation, old_traits | reason
        )
    counter = stored.counter.moved(
        stored.usage, after.state, is_missing=after.is_missing
    )
    # A missing unit cannot be claimed.
    closed = dataclasses.replace(counter, is_missing=True)
    generation = providers.put_inventory(
        service,
        stored.uuid,
        generation,
        (closed if after.is_claimable else counter).inventory(resource_class),
    )
    if new_traits != old_traits or reason:
        generation = providers.put_traits(
            service, stored.uuid, generation, new_traits
        )
    if not after.is_claimable:
        return None
    return Opening(stored.uuid, generation, counter.inventory(resource_class))


def _add(
    service: Service, host: Host, record: UnitRecord, counter: StateCounter
) -> Opening:
    """Create a unit's provider without an inventory; return what opens it.

    :param record: of the unit: free, or quarantined.
    :param counter: of a new unit.
    :raises Retry: when another client creates it now.
    """
    unit = record.unit
    uuid, generation = providers.ensure_provider(
        service, names.unit_provider(unit.key), host.root
    )
    generation = providers.put_traits(
        service, uuid, generation, names.unit_traits(unit, record.reason)
    )
    if record.state is State.QUARANTINED:
        counter = counter.moved(Usage(), record.state)
    return Opening(uuid, generation, counter.inventory(unit.resource_class))


def _require_only_publisher(
    service: Service, host: Host, provider_generation: int
) -> None:
    """Raise if another client publishes for the same host meanwhile."""
    provider = service.get(f"/resource_providers/{host.provider}")
    if provider["generation"] != provider_generation:
        raise retry_changed(
            f"the inventory of host {host.name}", "another publisher"
        )


def _require_only_ledger(
    service: Service,
    host: Host,
    stored: Collection[str],
    units: Sequence[Unit],
) -> None:
    """Raise if Nova already reports one of these functions.

    Delete half-created unit providers that a crashed publisher left, unless
    they are to be created now.

    :param stored: UUIDs of the providers of the host's units.
    :raises Refused: when Nova reports one.
    """
    addresses = {f.address for unit in units for f in unit.functions}
    keys = {unit.key for unit in units}
    for provider in service.providers(("in_tree", host.root)):
        key = names.unit_key_in(provider["name"])
        if key is None or provider["uuid"] in stored:
            continue
        traits = _read_traits(service, provider["uuid"])
        if names.UNIT_TRAIT in traits:
            if key not in keys:
                _delete_half_created(service, provider["uuid"])
        elif key.address in addresses and (
            traits or _has_inventories(service, provider)
        ):
            # Without either it is this driver's, from a moment ago.
            raise _two_ledgers(provider["name"], key.host, traits)


def _read_traits(service: Service, uuid: str) -> frozenset[str]:
    body = service.get_if_found(f"/resource_providers/{uuid}/traits")
    return frozenset(body["traits"]) if body else frozenset()


def _has_inventories(service: Service, provider: Json) -> bool:
    path = f"/resource_providers/{provider['uuid']}/inventories"
    body = service.get_if_found(path)
    return bool(body and body["inventories"])


def _delete_half_created(service: Service, uuid: str) -> None:
    path = f"/resource_providers/{uuid}"
    body = service.get_if_found(f"{path}/inventories")
    if body is not None and not body["inventories"]:
        service.delete(path)


def _two_ledgers(
    name: str, host: str, traits: frozenset[str]
) -> errors.Refused:
    marks = sorted(traits & names.NOVA_DEVICE_TRAITS)
    owner = "another service, such as Nova,"
    if marks:
        owner = f"Nova (trait {', '.join(marks)})"
    return errors.Refused(
        f"Placement has a provider {name} that is not of this ledger: {owner}"
        " reports that device itself, and two ledgers would hand it out"
        " twice; either leave it to Nova ([allocation] driver = sql, and"
        f" 'gpu-passthrough nova config'), or on host {host} remove the"
        " device from [pci] device_spec of Nova and delete that provider"
    )

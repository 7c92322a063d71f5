"""What Placement says of hosts and their units, in few requests.

Several requests are not a snapshot of one instant.  What is decided on their
answers is guarded where it is written: by the amount of the state counter
that a claim names, and by the provider's generation that a move names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from gpu_passthrough_plugin.allocation.placement import names, state_counter
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Service,
    retry_changed,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State, UnitRecord

_DISABLED_BY_NOVA = (
    "its compute service is disabled; run 'openstack compute service set"
    " --enable'"
)
# How often a unit is read that other clients change meanwhile.
_READS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A host and its providers.

    :param provider: UUID of the host's provider, below its compute node's.
    :param provider_generation: of that provider.
    :param root: UUID of the compute node's provider.
    :param generation: of the host's inventory of units.
    :param traits: of the host's provider.
    """

    name: str
    provider: str
    provider_generation: int
    root: str
    generation: int
    traits: frozenset[str]
    is_disabled_by_nova: bool

    @property
    def machine(self) -> str:
        return names.text_in(names.MACHINE, self.traits)

    @property
    def aggregates(self) -> frozenset[str]:
        return frozenset(names.texts_in(names.AGGREGATE, self.traits))

    @property
    def record(self) -> HostRecord:
        is_cordoned = names.CORDONED_TRAIT in self.traits
        reason = names.text_in(names.CORDON_REASON, self.traits)
        if self.is_disabled_by_nova and not is_cordoned:
            reason = _DISABLED_BY_NOVA
        return HostRecord(
            name=self.name,
            generation=self.generation,
            is_cordoned=is_cordoned or self.is_disabled_by_nova,
            reason=reason,
            aggregates=self.aggregates,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class StoredUnit:
    """A unit and its provider.

    :param uuid: of its provider.
    :param record: its consumer is None, because that takes a request more.
    """

    uuid: str
    record: UnitRecord
    counter: StateCounter
    usage: Usage

    @property
    def is_offered(self) -> bool:
        """Whether it may be claimed, and no consumer reserved it."""
        is_reserved = self.usage.amount and not self.has_leftovers
        return self.record.is_claimable and not is_reserved

    @property
    def has_leftovers(self) -> bool:
        """Whether an allocation is left of a hold that ended."""
        return self.counter.is_leftover(self.usage.amount)

    def held_by(self, consumer: str | None) -> UnitRecord:
        """Return the record, with its consumer."""
        return dataclasses.replace(self.record, consumer=consumer)


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts by name, and their units by host and address."""

    hosts: tuple[Host, ...] = ()
    units: tuple[StoredUnit, ...] = ()

    def without_reservations(self) -> Fleet:
        """Return the fleet as if no free unit were reserved."""
        units = tuple(
            dataclasses.replace(unit, usage=Usage())
            if unit.record.is_claimable
            else unit
            for unit in self.units
        )
        return dataclasses.replace(self, units=units)


def read_fleet(
    service: Service,
    host: str | None = None,
    *,
    is_offered: bool = False,
    aggregate: str | None = None,
) -> Fleet:
    """Return hosts and their units.

    This takes two requests for any number of hosts, and one more for each
    unit of which several consumers have an allocation.

    :param host: the only host to return; None for all of them.
    :param is_offered: whether to leave out cordoned hosts.
    :param aggregate: return only hosts in it.
    """
    listing = [("required", names.HOST_TRAIT)]
    if host is not None:
        listing.append(("name", names.host_provider(host)))
    providers = service.get("/resource_providers", *listing)
    listed = providers["resource_providers"]
    if not listed:
        return Fleet()
    required = names.HOST_TRAIT
    query = [("resources", f"{names.HOST_CLASS}:1")]
    if is_offered:
        required += f",!{names.CORDONED_TRAIT}"
        query.append(("root_required", f"!{names.NOVA_DISABLED_TRAIT}"))
    query.append(("required", required))
    if aggregate is not None:
        query.append(("member_of", names.aggregate(aggregate)))
    if host is not None:
        query.append(("in_tree", listed[0]["root_provider_uuid"]))
    candidates = service.get("/allocation_candidates", *query)
    usages = {
        uuid: state_counter.usage_of(read_amounts(service, uuid).values())
        for uuid in shared_units(candidates)
    }
    return fleet_in(providers, candidates, usages)


def is_in_aggregate(
    service: Service, host: str, aggregate: str | None
) -> bool:
    """Whether a host is in an aggregate; every host is in None."""
    if aggregate is None:
        return True
    return bool(read_fleet(service, host, aggregate=aggregate).hosts)


def read_records(
    service: Service, units: Iterable[StoredUnit]
) -> tuple[UnitRecord, ...]:
    """Return the records of units, each with its consumer.

    :raises Retry: when one changed each time it was read.
    """
    return tuple(_read_record(service, unit) for unit in units)


def _read_record(service: Service, unit: StoredUnit) -> UnitRecord:
    for _ in range(_READS):
        if not unit.record.state.is_held:
            return unit.held_by(None)
        amounts = read_amounts(service, unit.uuid)
        for consumer, amount in amounts.items():
            if amount == unit.usage.amount:
                return unit.held_by(consumer)
        if not unit.usage.consumers:
            return unit.held_by(None)
        # Its holder gave it back since the fleet was read.
        host = unit.record.unit.key.host
        now = {u.uuid: u for u in read_fleet(service, host).units}
        if unit.uuid not in now:
            break
        unit = now[unit.uuid]
    raise retry_changed(f"unit {unit.record.unit.key}", "another holder")


def read_amounts(service: Service, uuid: str) -> dict[str, int]:
    """Return how much of a unit's state counter each consumer has.

    A consumer that ignores state counters, such as Nova's, has 0.

    :param uuid: of the unit's provider.
    """
    body = service.get_if_found(f"/resource_providers/{uuid}/allocations")
    allocations = body["allocations"] if body else {}
    return {
        consumer: int(entry["resources"].get(names.STATE_COUNTER, 0))
        for consumer, entry in allocations.items()
    }


def shared_units(candidates: Json) -> list[str]:
    """Return the providers of units that several consumers allocated.

    The summaries of providers have only the sums of what is allocated.
    """
    summaries: Mapping[str, Json] = candidates["provider_summaries"]
    return [
        uuid
        for uuid, summary in summaries.items()
        if names.STATE_COUNTER in summary["resources"]
        and _consumer_count(summary["resources"]) > 1
    ]


def _consumer_count(resources: Mapping[str, Json]) -> int:
    """Return how many consumers a unit has: each has one of its class."""
    return sum(
        int(inventory["used"])
        for name, inventory in resources.items()
        if name != names.STATE_COUNTER
    )


def fleet_in(
    providers: Json, candidates: Json, usages: Mapping[str, Usage]
) -> Fleet:
    """Return the hosts and units that Placement's answers describe.

    :param providers: of GET /resource_providers: the providers of hosts.
    :param candidates: of GET /allocation_candidates for the class of hosts:
        its summaries hold every provider of their trees.
    :param usages: of the units that are ``shared_units``.
    """
    summaries: Mapping[str, Json] = candidates["provider_summaries"]
    hosts = sorted(
        _hosts_in(providers["resource_providers"], summaries),
        key=lambda host: host.name,
    )
    host_names = {host.root: host.name for host in hosts}
    units = sorted(
        _units_in(summaries, host_names, usages),
        key=lambda stored: stored.record.unit.key,
    )
    return Fleet(tuple(hosts), tuple(units))


def _hosts_in(
    listed: Iterable[Json], summaries: Mapping[str, Json]
) -> Iterator[Host]:
    for entry in listed:
        summary = summaries.get(entry["uuid"])
        capacity = _capacity(summary, names.HOST_CLASS)
        if summary is None or capacity is None:
            continue
        root = str(summary["root_provider_uuid"])
        root_traits = summaries.get(root, {"traits": ()})["traits"]
        yield Host(
            name=names.host_in(entry["name"]),
            provider=entry["uuid"],
            provider_generation=entry["generation"],
            root=root,
            generation=capacity - 1,
            traits=frozenset(summary["traits"]),
            is_disabled_by_nova=names.NOVA_DISABLED_TRAIT in root_traits,
        )


def _capacity(summary: Json | None, resource_class: str) -> int | None:
    inventory = (summary or {}).get("resources", {}).get(resource_class)
    return None if inventory is None else int(inventory["capacity"])


def _units_in(
    summaries: Mapping[str, Json],
    host_names: Mapping[str, str],
    usages: Mapping[str, Usage],
) -> Iterator[StoredUnit]:
    """Yield units.

    :param host_names: of hosts, by the UUID of their root provider.
    """
    for uuid, summary in summaries.items():
        host = host_names.get(str(summary["root_provider_uuid"]))
        total = _capacity(summary, names.STATE_COUNTER)
        # A unit that is being added has no state counter yet.
        if host is None or total is None:
            continue
        resources = summary["resources"]
        amount = int(resources[names.STATE_COUNTER]["used"])
        stored = stored_unit(
            uuid,
            host,
            frozenset(summary["traits"]),
            state_counter.from_total(total),
            usages.get(uuid) or Usage(amount, _consumer_count(resources)),
        )
        if stored is not None:
            yield stored


def stored_unit(
    uuid: str,
    host: str,
    traits: frozenset[str],
    counter: StateCounter,
    usage: Usage,
) -> StoredUnit | None:
    """Return a unit of a host; None when the traits describe no unit."""
    unit = names.unit_in(host, traits)
    if unit is None:
        return None
    state = counter.state(usage)
    reason = ""
    if state is State.QUARANTINED:
        reason = names.text_in(names.QUARANTINE_REASON, traits)
    record = UnitRecord(
        unit=unit,
        state=state,
        consumer=None,
        generation=counter.generation(usage),
        is_missing=counter.is_missing,
        reason=reason,
    )
    return StoredUnit(uuid, record, counter, usage)

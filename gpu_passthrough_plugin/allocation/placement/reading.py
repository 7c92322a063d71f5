"""Reading hosts, units and who holds them out of Placement.

Requests are no snapshot of one instant.  What is decided on what was read
is guarded where it is written: by the count that a claim names, and by the
generation that a move names.
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

CORDON_REASON, MACHINE, AGGREGATE = "WHY", "MACHINE", "AGGREGATE"
_BY_NOVA = (
    "its compute service is disabled; run 'openstack compute service set"
    " --enable'"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A host, and where it is in Placement.

    :param provider: UUID of our provider of it.
    :param provider_generation: generation of that provider.
    :param root: UUID of the compute node's.
    :param generation: of the host's inventory.
    :param traits: of our provider.
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
        return "".join(names.texts_in(MACHINE, self.traits))

    @property
    def aggregates(self) -> frozenset[str]:
        return frozenset(names.texts_in(AGGREGATE, self.traits))

    @property
    def record(self) -> HostRecord:
        is_ours = names.CORDONED_TRAIT in self.traits
        why = "".join(names.texts_in(CORDON_REASON, self.traits))
        return HostRecord(
            name=self.name,
            generation=self.generation,
            is_disabled=is_ours or self.is_disabled_by_nova,
            reason=why
            if is_ours or not self.is_disabled_by_nova
            else _BY_NOVA,
            aggregates=self.aggregates,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class StoredUnit:
    """A unit, and where it is in Placement.

    :param uuid: of its provider.
    :param record: its consumer is None as long as nobody looked.
    """

    uuid: str
    record: UnitRecord
    counter: StateCounter
    usage: Usage

    @property
    def is_offered(self) -> bool:
        return self.is_free and (not self.usage.amount or self.has_leftovers)

    @property
    def is_idle(self) -> bool:
        return self.record.state in (State.FREE, State.QUARANTINED)

    @property
    def is_free(self) -> bool:
        """Whether it is offered, but perhaps for somebody's bid."""
        return self.record.state is State.FREE and not self.record.is_missing

    @property
    def has_leftovers(self) -> bool:
        return self.counter.is_leftover(self.usage.amount)

    def held_by(self, consumer: str | None) -> UnitRecord:
        """The record, held by that consumer."""
        return dataclasses.replace(self.record, consumer=consumer)


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts by name, and their units by host and address."""

    hosts: tuple[Host, ...] = ()
    units: tuple[StoredUnit, ...] = ()

    def without_reservations(self) -> Fleet:
        """The same, had nobody bid for what is free."""
        units = tuple(
            dataclasses.replace(unit, usage=Usage()) if unit.is_free else unit
            for unit in self.units
        )
        return dataclasses.replace(self, units=units)


def shared_units(candidates: Json) -> list[str]:
    """The providers of units that several have something of.

    Summaries give the sums only.
    """
    summaries: Mapping[str, Json] = candidates["provider_summaries"]
    return [
        uuid
        for uuid, summary in summaries.items()
        if names.STATE_COUNTER in summary["resources"]
        and _takers(summary["resources"]) > 1
    ]


def _takers(resources: Mapping[str, Json]) -> int:
    """How many have a unit's own class: it has one, and each one of it."""
    return sum(
        int(of["used"])
        for name, of in resources.items()
        if name != names.STATE_COUNTER
    )


def fleet_in(
    providers: Json, candidates: Json, known: Mapping[str, Usage]
) -> Fleet:
    """What is known of the hosts whose providers are listed.

    :param providers: our providers of hosts, by GET /resource_providers.
    :param candidates: of GET /allocation_candidates for our class of
        hosts, whose summaries hold every provider of their trees.
    :param known: what is taken of those that are ``shared``.
    """
    summaries: Mapping[str, Json] = candidates["provider_summaries"]
    hosts = sorted(
        _hosts(providers["resource_providers"], summaries),
        key=lambda host: host.name,
    )
    of_root = {host.root: host.name for host in hosts}
    units = sorted(
        _units(summaries, of_root, known),
        key=lambda stored: stored.record.unit.key,
    )
    return Fleet(tuple(hosts), tuple(units))


def _hosts(
    listed: Iterable[Json], summaries: Mapping[str, Json]
) -> Iterator[Host]:
    for entry in listed:
        node = summaries.get(entry["uuid"])
        capacity = _capacity(node, names.HOST_CLASS)
        if node is None or capacity is None:
            continue
        root = str(node["root_provider_uuid"])
        of_root = summaries.get(root, {"traits": ()})
        yield Host(
            name=names.host_in(entry["name"]),
            provider=entry["uuid"],
            provider_generation=entry["generation"],
            root=root,
            generation=capacity - 1,
            traits=frozenset(node["traits"]),
            is_disabled_by_nova=names.NOVA_DISABLED_TRAIT in of_root["traits"],
        )


def _capacity(summary: Json | None, resource_class: str) -> int | None:
    found = (summary or {}).get("resources", {}).get(resource_class)
    return None if found is None else int(found["capacity"])


def _units(
    summaries: Mapping[str, Json],
    of_root: Mapping[str, str],
    known: Mapping[str, Usage],
) -> Iterator[StoredUnit]:
    for uuid, summary in summaries.items():
        host = of_root.get(str(summary["root_provider_uuid"]))
        total = _capacity(summary, names.STATE_COUNTER)
        # One without a lease is being made, and no unit yet.
        if host is None or total is None:
            continue
        resources = summary["resources"]
        amount = int(resources[names.STATE_COUNTER]["used"])
        found = stored_unit(
            uuid,
            host,
            frozenset(summary["traits"]),
            state_counter.from_total(total),
            known.get(uuid) or Usage(amount, _takers(resources)),
        )
        if found is not None:
            yield found


def stored_unit(
    uuid: str,
    host: str,
    traits: frozenset[str],
    found: StateCounter,
    of: Usage,
) -> StoredUnit | None:
    """A unit of a host; None when its traits tell of none."""
    unit = names.unit_in(host, traits)
    if unit is None:
        return None
    state = found.state(of)
    is_quarantined = state is State.QUARANTINED
    return StoredUnit(
        uuid=uuid,
        record=UnitRecord(
            unit=unit,
            state=state,
            consumer=None,
            generation=found.generation(of),
            is_missing=found.is_missing,
            reason=names.reason_in(traits) if is_quarantined else "",
        ),
        counter=found,
        usage=of,
    )


# How often a unit is looked at that others change meanwhile.
_LOOKS = 5


def read_fleet(
    service: Service,
    host: str | None = None,
    *,
    is_offered: bool = False,
    aggregate: str | None = None,
) -> Fleet:
    """Hosts and their units; of all hosts by default.

    Two requests, whatever there is of them; one more for each unit that
    several have something of.

    :param is_offered: leave disabled hosts out.
    :param aggregate: only hosts that are in it.
    """
    asked = [("required", names.HOST_TRAIT)]
    if host is not None:
        asked.append(("name", names.host_provider(host)))
    providers = service.get("/resource_providers", *asked)
    listed = providers["resource_providers"]
    if not listed:
        return Fleet()
    query = [
        ("resources", f"{names.HOST_CLASS}:1"),
        ("required", names.HOST_TRAIT),
    ]
    if is_offered:
        query[-1] = ("required", f"{names.HOST_TRAIT},!{names.CORDONED_TRAIT}")
        query.append(("root_required", f"!{names.NOVA_DISABLED_TRAIT}"))
    if aggregate is not None:
        query.append(("member_of", names.aggregate(aggregate)))
    if host is not None:
        query.append(("in_tree", listed[0]["root_provider_uuid"]))
    candidates = service.get("/allocation_candidates", *query)
    known = {
        uuid: state_counter.usage_of(counter_amounts(service, uuid).values())
        for uuid in shared_units(candidates)
    }
    return fleet_in(providers, candidates, known)


def is_in_aggregate(
    service: Service, host: str, aggregate: str | None
) -> bool:
    """Whether a host is in an aggregate; True for None."""
    if aggregate is None:
        return True
    return bool(read_fleet(service, host, aggregate=aggregate).hosts)


def read_records(
    service: Service, units: Iterable[StoredUnit]
) -> tuple[UnitRecord, ...]:
    """The records of units, each with who holds it.

    :raises Retry: when one changed at each claim_request.
    """
    return tuple(_record(service, unit) for unit in units)


def _record(service: Service, unit: StoredUnit) -> UnitRecord:
    for _ in range(_LOOKS):
        consumer = _holder_of(service, unit)
        is_told = consumer is not None or not unit.usage.consumers
        if is_told or unit.is_idle:
            return unit.held_by(consumer)
        # Whoever had it when it was read has it no more.
        host = unit.record.unit.key.host
        now = {u.uuid: u for u in read_fleet(service, host).units}
        if unit.uuid not in now:
            break
        unit = now[unit.uuid]
    raise retry_changed(f"unit {unit.record.unit.key}", "another holder")


def _holder_of(service: Service, unit: StoredUnit) -> str | None:
    """The UUID of who holds a unit; None when nobody does."""
    if unit.is_idle:
        return None
    for name, amount in counter_amounts(service, unit.uuid).items():
        if amount == unit.usage.amount:
            return name
    return None


def counter_amounts(service: Service, uuid: str) -> dict[str, int]:
    """How much of a unit's lease each consumer has that has some of it."""
    found = service.get_if_found(f"/resource_providers/{uuid}/allocations")
    allocations = found["allocations"] if found else {}
    return {
        consumer: int(entry["resources"].get(names.STATE_COUNTER, 0))
        for consumer, entry in allocations.items()
    }

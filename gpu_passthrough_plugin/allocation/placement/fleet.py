"""The hosts and units that Placement's answers describe; pure.

Each host and each unit is read for itself: a malformed one is an account of
its own, and stops no other from being read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    answers,
    names,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.service import Json
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.allocation import (
    DISABLED_BY_NOVA,
    HostRecord,
)
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A host and its providers.

    :param provider: UUID of the host's provider, below its compute node's.
    :param provider_generation: of that provider.
    :param root: UUID of the compute node's provider.
    :param generation: of the host's inventory of units.
    :param traits: of the host's provider.
    :param problem: what of its traits or name is malformed; empty for a host
        that can be read.
    """

    name: str
    provider: str
    provider_generation: int
    root: str
    generation: int
    traits: frozenset[str]
    is_disabled_by_nova: bool
    problem: str = ""

    @property
    def machine(self) -> str:
        return "".join(self._texts(names.MACHINE))

    @property
    def aggregates(self) -> frozenset[str]:
        return frozenset(self._texts(names.AGGREGATE))

    @property
    def record(self) -> HostRecord:
        is_cordoned = names.CORDONED_TRAIT in self.traits
        reason = "".join(self._texts(names.CORDON_REASON))
        if self.is_disabled_by_nova and not is_cordoned:
            reason = DISABLED_BY_NOVA
        return HostRecord(
            name=self.name,
            generation=self.generation,
            is_cordoned=is_cordoned
            or self.is_disabled_by_nova
            or bool(self.problem),
            reason=self.problem or reason,
            aggregates=self.aggregates,
            is_malformed=bool(self.problem),
            is_watched=names.WATCHED_TRAIT in self.traits,
        )

    def _texts(self, kind: str) -> tuple[str, ...]:
        """Return the texts of a kind; none where a trait is malformed."""
        try:
            return names.texts_in(kind, self.traits)
        except errors.Invalid:
            return ()


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

    def malformed(self, problem: str) -> MalformedProvider:
        """Return what is said of it instead, for a problem with it."""
        return MalformedProvider(
            self.uuid,
            self.record.unit.key.host,
            problem,
            self.usage.consumers,
            self.counter.count,
        )

    def held_by(self, consumer: str | None) -> UnitRecord:
        """Return the record, with its consumer."""
        return dataclasses.replace(self.record, consumer=consumer)


@dataclasses.dataclass(frozen=True, slots=True)
class MalformedProvider:
    """The provider of a unit that cannot be read.

    :param uuid: of the provider.
    :param consumers: how many consumers have an allocation of it; 1 where
        that cannot be read either.
    :param count: of its state counter; 0 where that cannot be read.
    """

    uuid: str
    host: str
    problem: str
    consumers: int = 1
    count: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts by name, and their units by host and address.

    :param malformed: what should be a unit and cannot be read.
    """

    hosts: tuple[Host, ...] = ()
    units: tuple[StoredUnit, ...] = ()
    malformed: tuple[MalformedProvider, ...] = ()

    def without_units(self, problems: Mapping[str, str]) -> Fleet:
        """Return the fleet with units among the malformed ones.

        :param problems: by the UUID of the unit's provider.
        """
        return dataclasses.replace(
            self,
            units=tuple(u for u in self.units if u.uuid not in problems),
            malformed=(
                *self.malformed,
                *(
                    u.malformed(problems[u.uuid])
                    for u in self.units
                    if u.uuid in problems
                ),
            ),
        )

    def without_malformed_hosts(self) -> Fleet:
        """Return the fleet without hosts whose records are malformed."""
        hosts = tuple(host for host in self.hosts if not host.problem)
        present = {host.name for host in hosts}
        return dataclasses.replace(
            self,
            hosts=hosts,
            units=tuple(
                u for u in self.units if u.record.unit.key.host in present
            ),
        )

    def without_reservations(self) -> Fleet:
        """Return the fleet as if no free unit were reserved."""
        units = tuple(
            dataclasses.replace(unit, usage=Usage())
            if unit.record.is_claimable
            else unit
            for unit in self.units
        )
        return dataclasses.replace(self, units=units)


def shared_units(candidates: Json) -> list[str]:
    """Return the providers of units that several consumers allocated.

    The summaries of providers have only the sums of what is allocated.
    """
    return [
        uuid
        for uuid, summary in candidates["provider_summaries"].items()
        if answers.is_summary(summary)
        and names.STATE_COUNTER in summary["resources"]
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
    listed = providers["resource_providers"]
    hosts = (*_hosts_in(listed, summaries), *_malformed_hosts(listed))
    # A malformed host must not take the units of another.
    ordered = sorted(hosts, key=lambda host: not host.problem)
    host_names = {host.root: host.name for host in ordered if host.root}
    units: dict[UnitKey, StoredUnit] = {}
    malformed: list[MalformedProvider] = []
    for uuid, summary in summaries.items():
        read = _unit_in(uuid, summary, host_names, usages)
        if isinstance(read, MalformedProvider):
            malformed.append(read)
        elif read is not None:
            same = units.setdefault(read.record.unit.key, read)
            if same is not read:
                problem = (
                    f"its traits describe {read.record.unit.key.address}, as"
                    f" provider {same.uuid} does"
                )
                malformed.append(read.malformed(problem))
    return Fleet(
        tuple(sorted(hosts, key=lambda host: host.name)),
        tuple(units[key] for key in sorted(units)),
        tuple(sorted(malformed, key=lambda unit: (unit.host, unit.uuid))),
    )


def _malformed_hosts(listed: Iterable[object]) -> tuple[Host, ...]:
    """Return the hosts whose entries in a list of providers are malformed."""
    hosts = []
    for entry in listed:
        try:
            answers.require_provider(entry)
        except errors.Invalid as error:
            name = entry.get("name") if isinstance(entry, Mapping) else None
            hosts.append(
                Host(
                    str(name).removesuffix(names.HOST_SUFFIX),
                    "",
                    0,
                    "",
                    0,
                    frozenset(),
                    False,
                    str(error),
                )
            )
    return tuple(hosts)


def _hosts_in(
    listed: Iterable[Json], summaries: Mapping[str, Json]
) -> Iterator[Host]:
    for entry in filter(answers.is_provider, listed):
        summary = summaries.get(entry["uuid"])
        # One that is not offered, or was added since the list was read.
        if summary is None:
            continue
        problem = ""
        try:
            answers.require_summary(summary)
        except errors.Invalid as error:
            problem = str(error)
            summary = {"root_provider_uuid": entry["root_provider_uuid"]}
        capacity = _capacity(summary, names.HOST_CLASS)
        if capacity is None and not problem:
            continue
        yield _host_in(entry, summary, summaries, capacity or 1, problem)


def _host_in(
    entry: Json,
    summary: Json,
    summaries: Mapping[str, Json],
    capacity: int,
    problem: str,
) -> Host:
    """Return a host.

    :param problem: what is malformed in its summary, if anything.
    """
    root = summary["root_provider_uuid"]
    root_traits: Iterable[str] = ()
    if answers.is_summary(summaries.get(root)):
        root_traits = summaries[root]["traits"]
    traits = frozenset(summary.get("traits", ()))
    name = entry["name"]
    try:
        name = names.host_in(name)
        for kind in names.HOST_TEXTS:
            names.texts_in(kind, traits)
    except errors.Invalid as error:
        problem = problem or str(error)
    return Host(
        name=name,
        provider=entry["uuid"],
        provider_generation=entry["generation"],
        root=root,
        generation=capacity - 1,
        traits=traits,
        is_disabled_by_nova=names.NOVA_DISABLED_TRAIT in root_traits,
        problem=problem,
    )


def _capacity(summary: Json, resource_class: str) -> int | None:
    inventory = summary.get("resources", {}).get(resource_class)
    return None if inventory is None else int(inventory["capacity"])


def _unit_in(
    uuid: str,
    summary: Json,
    host_names: Mapping[str, str],
    usages: Mapping[str, Usage],
) -> StoredUnit | MalformedProvider | None:
    """Return the unit that a summary describes; None if it is another's.

    :param host_names: of hosts, by the UUID of their root provider.
    """
    host = host_names.get(answers.root_in(summary))
    if host is None:
        return None
    consumers, count = 1, 0
    try:
        answers.require_summary(summary)
        total = _capacity(summary, names.STATE_COUNTER)
        # A unit that is being added has no state counter yet.
        if total is None:
            return None
        resources = summary["resources"]
        amount = int(resources[names.STATE_COUNTER]["used"])
        usage = usages.get(uuid) or Usage(amount, _consumer_count(resources))
        consumers, count = usage.consumers, total // 16
        return stored_unit(
            uuid,
            host,
            frozenset(summary["traits"]),
            state_counter.from_total(total),
            usage,
        )
    except errors.Invalid as error:
        return MalformedProvider(uuid, host, str(error), consumers, count)


def stored_unit(
    uuid: str,
    host: str,
    traits: frozenset[str],
    counter: StateCounter,
    usage: Usage,
) -> StoredUnit:
    """Return a unit of a host.

    :raises Invalid: when the traits describe no unit, or are malformed.
    """
    unit = names.unit_in(host, traits)
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

"""What Placement says of hosts and their units, in few requests.

Several requests are not a snapshot of one instant.  What is decided on their
answers is guarded where it is written: by the amount of the state counter
that a claim names, and by the provider's generation that a move names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.placement import (
    answers,
    fleet,
    names,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    MalformedProvider,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    MalformedAnswer,
    Service,
    retry_changed,
)
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.unit import UnitRecord

# How often a unit is read that other clients change meanwhile.
_READS = 5

USED_BY_NO_CONSUMER = (
    "Placement counts it as used and names no consumer; run 'placement-manage"
    " db online_data_migrations' where Placement runs"
)
"""The problem of a unit whose allocation outlived its consumer."""


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
    listed = [*filter(answers.is_provider, providers["resource_providers"])]
    if not listed:
        return fleet.fleet_in(providers, {"provider_summaries": {}}, {})
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
    usages = {}
    problems = {}
    for uuid in fleet.shared_units(candidates):
        try:
            amounts = read_amounts(service, uuid)
        except MalformedAnswer as error:
            problems[uuid] = str(error)
        else:
            usages[uuid] = state_counter.usage_of(amounts.values())
    read = fleet.fleet_in(providers, candidates, usages)
    read = read.without_units(problems)
    return read.without_malformed_hosts() if is_offered else read


def is_in_aggregate(
    service: Service, host: str, aggregate: str | None
) -> bool:
    """Whether a host is in an aggregate; every host is in None."""
    if aggregate is None:
        return True
    return bool(read_fleet(service, host, aggregate=aggregate).hosts)


class Records(NamedTuple):
    """Records of units, and those whose consumers cannot be read."""

    records: tuple[UnitRecord, ...]
    malformed: tuple[MalformedProvider, ...]


def read_records(service: Service, units: Iterable[StoredUnit]) -> Records:
    """Return the records of units, each with its consumer.

    :raises Retry: when one changed each time it was read.
    """
    records = []
    malformed = []
    for unit in units:
        try:
            records.append(_read_record(service, unit))
        except MalformedAnswer as error:
            malformed.append(unit.malformed(str(error)))
    return Records(tuple(records), tuple(malformed))


def with_holders(
    service: Service, units: Iterable[StoredUnit]
) -> list[UnitRecord]:
    """Return the records of units, with consumers where these can be read.

    :raises Retry: when one changed each time it was read.
    """
    units = list(units)
    held = read_records(service, [u for u in units if u.record.state.is_held])
    records = {record.unit.key: record for record in held.records}
    return [records.get(u.record.unit.key, u.record) for u in units]


def _read_record(service: Service, unit: StoredUnit) -> UnitRecord:
    """Return a unit's record with its consumer.

    :raises MalformedAnswer: when Placement counts the unit as used, and names
        no consumer.  Of two claims for one new consumer, the slower one may
        remove the consumer and leave the allocation of the other.
        Source: placement, handlers/allocation.py
        (delete_consumers); seen with 16.0.0.
    :raises Retry: when it changed each time it was read.
    """
    is_orphaned = False
    for _ in range(_READS):
        if not unit.record.state.is_held:
            return unit.held_by(None)
        amounts = read_amounts(service, unit.uuid)
        for consumer, amount in amounts.items():
            if amount == unit.usage.amount:
                return unit.held_by(consumer)
        if not unit.usage.consumers:
            return unit.held_by(None)
        is_orphaned = not amounts
        # Its holder gave it back since the fleet was read.
        host = unit.record.unit.key.host
        now = {u.uuid: u for u in read_fleet(service, host).units}
        if unit.uuid not in now:
            break
        unit = now[unit.uuid]
    if is_orphaned:
        raise MalformedAnswer(USED_BY_NO_CONSUMER)
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


def describe(
    service: Service, malformed: MalformedProvider
) -> tuple[MalformedUnit, frozenset[str]]:
    """Return a malformed unit as lists show it, and its address.

    :return: the unit, and its address as a set: empty where its provider's
        name has none.
    """
    path = f"/resource_providers/{malformed.uuid}"
    try:
        provider = service.get_if_found(path)
        amounts = read_amounts(service, malformed.uuid)
    except MalformedAnswer:
        provider, amounts = None, {}
    name = malformed.uuid if provider is None else str(provider["name"])
    key = names.unit_key_in(name)
    unit = MalformedUnit(
        malformed.host,
        malformed.uuid,
        name if key is None else str(key.address),
        malformed.problem,
        next(iter(amounts), None),
    )
    return unit, frozenset(() if key is None else {str(key.address)})

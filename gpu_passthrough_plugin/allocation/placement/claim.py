"""Claiming units: which hosts and units to try, in which order.

A claim reads what is offered, chooses, and acquires what it chose (see
``reservations``).  Hosts are tried in the order of ``allocation.capacity``, as
with every ledger: first where the request finds what it prefers, then by the
operator's weight, then by name.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import (
    capacity,
    choice,
    refusals,
    shortfall,
    validation,
)
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    reservations,
)
from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    FreeUnit,
    Weight,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import UnitKey, UnitRecord

# After a lost race, one of so many best candidates is taken at random.
_RANDOM_CANDIDATES = 4


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimQuery:
    """What to claim, for whom, and where.

    :param consumer: a UUID.
    :param host: the only host to use; None for any.
    :param weight: which host is tried first.
    """

    request: Request
    consumer: str
    host: str | None
    weight: Weight


def claim(service: Service, query: ClaimQuery, attempt: int) -> Allocation:
    """Claim the best candidate, or return what the consumer holds already.

    :param attempt: how many attempts were made before.
    :raises NoValidHost: when no host can satisfy the request.
    :raises Refused: when the consumer holds something else.
    :raises Retry: when another client was faster.
    """
    request = query.request
    user_id = names.user_id(request)
    held = _held(service, query, user_id)
    if held is not None:
        return held
    fleet = reading.read_fleet(
        service, query.host, is_offered=True, aggregate=request.aggregate
    )
    # More of them at each attempt: those of one host may all be refused.
    best = candidates(
        fleet, request, query.weight, _RANDOM_CANDIDATES * (attempt + 1)
    )
    if not best:
        raise _none_offered(service, fleet, query, attempt)
    # Clients that lost to one another are not to meet again.
    chosen = random.choice(best) if attempt else best[0]  # noqa: S311 - no secret
    units = _units_of(fleet, chosen)
    return Allocation(
        consumer=query.consumer,
        host=chosen.host,
        request=str(request),
        units=reservations.acquire(
            service, query.consumer, units, user_id, attempt
        ),
    )


def _held(
    service: Service, query: ClaimQuery, user_id: str
) -> Allocation | None:
    """Return what the consumer holds already, or None.

    :raises Refused: when that is not what it claims now, or a part of it.
    """

    def is_allowed(host: str) -> bool:
        if query.host not in (None, host):
            return False
        aggregate = query.request.aggregate
        return reading.is_in_aggregate(service, host, aggregate)

    def matches_claim(consumer: Consumer, units: Sequence[StoredUnit]) -> bool:
        is_same = consumer.user_id == user_id
        return is_same and is_allowed(units[0].record.unit.key.host)

    def is_partial(consumer: Consumer, records: Sequence[UnitRecord]) -> bool:
        functions = [f for r in records for f in r.unit.primaries]
        count = sum(item.count for item in query.request.items)
        # Else it has what it was given, and freed some of that itself.
        was_lost = len(records) < len(consumer.allocations)
        is_same = consumer.user_id == user_id
        return is_same and was_lost and len(functions) < count

    held = reservations.resume(
        service, query.consumer, matches_claim, is_partial
    )
    if held is None:
        return None
    is_same = names.is_same_request(held.user_id, query.request)
    request = names.request_in(held.user_id)
    if not (is_same and is_allowed(held.host)):
        raise refusals.consumer_holds_other(query.consumer, request, held.host)
    allocation = Allocation(query.consumer, held.host, request, held.units)
    validation.require_whole(allocation, query.request)
    return allocation


def _none_offered(
    service: Service, fleet: Fleet, query: ClaimQuery, attempt: int
) -> Exception:
    """Return the error of a claim for which too few units are offered.

    Units that other clients reserved may become theirs, or free again.
    """
    best = candidates(
        fleet.without_reservations(), query.request, query.weight, 1
    )
    if not best:
        return no_valid_host(service, query.request, query.host)
    reservations.withdraw(service, _units_of(fleet, best[0]), attempt)
    return reservations.lost_race(str(query.request))


def no_valid_host(
    service: Service, request: Request, host: str | None
) -> errors.NoValidHost:
    """Return why nothing fits, with the numbers of a fleet of usual size."""
    fleet = reading.read_fleet(service, host)
    records = [member.record for member in fleet.hosts]
    aggregate = request.aggregate
    if aggregate is not None:
        # The records do not have aggregates that Nova mirrors here.
        within = reading.read_fleet(service, host, aggregate=aggregate)
        members = {member.name for member in within.hosts}
        records = [
            dataclasses.replace(
                record,
                aggregates=record.aggregates - {aggregate}
                | ({aggregate} if record.name in members else set()),
            )
            for record in records
        ]
    units = None
    if host or len(fleet.units) <= refusals.MAX_COUNTED_UNITS:
        units = [stored.record for stored in fleet.units]
        if shortfall.names_consumers(units):
            units = reading.with_holders(service, fleet.units)
    return refusals.no_valid_host(request, host, records, units)


def claim_units(
    service: Service,
    keys: Collection[UnitKey],
    consumer: str,
    request: str,
    attempt: int,
) -> Allocation:
    """Claim the given units, which the caller chose (the libvirt hook).

    :param keys: of units of one host.
    :param attempt: how many attempts were made before.
    :raises Refused: when the host is cordoned, a unit is gone, or the
        consumer holds other units.
    :raises Conflict: when another consumer holds a unit.
    :raises Retry: when another client was faster.
    """

    def matches_claim(_: Consumer, units: Sequence[StoredUnit]) -> bool:
        return {unit.record.unit.key for unit in units} == set(keys)

    def is_partial(holder: Consumer, records: Sequence[UnitRecord]) -> bool:
        is_some = {record.unit.key for record in records} < set(keys)
        # Else these are all that it claimed: the caller asks for more.
        return is_some and len(records) < len(holder.allocations)

    holding = reservations.resume(service, consumer, matches_claim, is_partial)
    if holding is not None:
        held = Allocation(
            consumer, holding.host, holding.user_id, holding.units
        )
        validation.require_same_units(held, keys)
        return held
    units = _read_free_units(service, keys)
    return Allocation(
        consumer=consumer,
        host=units[0].record.unit.key.host,
        request=request,
        units=reservations.acquire(service, consumer, units, request, attempt),
    )


def _read_free_units(
    service: Service, keys: Collection[UnitKey]
) -> list[StoredUnit]:
    name = next(iter(keys)).host
    fleet = reading.read_fleet(service, name)
    for host in fleet.hosts:
        if host.record.is_cordoned:
            raise refusals.host_cordoned(name, host.record.reason)
    units = [s for s in fleet.units if s.record.unit.key in keys]
    if all(s.record.is_claimable for s in units):
        validation.require_claimable(keys, [s.record for s in units])
    else:
        records = reading.with_holders(service, units)
        validation.require_claimable(keys, records)
    return units


def _units_of(fleet: Fleet, candidate: Candidate) -> list[StoredUnit]:
    keys = {free.unit.key for free in candidate.units}
    return [s for s in fleet.units if s.record.unit.key in keys]


def candidates(
    fleet: Fleet, request: Request, weight: Weight, limit: int
) -> tuple[Candidate, ...]:
    """Return where a request fits, in the order in which a claim tries it."""
    units: dict[str, list[StoredUnit]] = {h.name: [] for h in fleet.hosts}
    for stored in fleet.units:
        units[stored.record.unit.key.host].append(stored)
    best: list[Candidate] = []
    for host in _ordered_hosts(units, request, weight):
        best += _candidates_of(units[host], request, limit)
        if len(best) >= limit:
            break
    return tuple(best[:limit])


def _candidates_of(
    units: Sequence[StoredUnit], request: Request, limit: int
) -> tuple[Candidate, ...]:
    return choice.candidates(
        request,
        [
            FreeUnit(s.record.unit, s.record.generation)
            for s in units
            if s.is_offered
        ],
        [s.record.unit for s in units if not s.is_offered],
        limit=limit,
    )


def _ordered_hosts(
    units: Mapping[str, Sequence[StoredUnit]],
    request: Request,
    weight: Weight,
) -> Iterator[str]:
    """Yield the hosts that may satisfy a request, each once.

    :param units: of each host.
    """
    all_units = [s.record.unit for of_host in units.values() for s in of_host]
    host_filter = capacity.host_filter(
        request, capacity.device_models(all_units)
    )
    if host_filter is None:
        return
    counts = {
        host: capacity.count_free(
            s.record.unit for s in of_host if s.is_offered
        )
        for host, of_host in units.items()
    }
    yielded: set[str] = set()
    for model, place, number in host_filter.thresholds:
        free = {
            host: free_counts.get((model, place), 0)
            for host, free_counts in counts.items()
        }
        for host in _by_weight(free, weight, number):
            if host not in yielded:
                yielded.add(host)
                yield host


def _by_weight(
    free: Mapping[str, int], weight: Weight, minimum: int
) -> Iterable[str]:
    sign = 1 if weight is Weight.PACK else -1
    return sorted(
        (host for host, number in free.items() if number >= minimum),
        key=lambda host: (sign * free[host], host),
    )

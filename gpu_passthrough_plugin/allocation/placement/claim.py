"""Claiming: read what is free, choose, bid for it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Iterable, Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import (
    capacity,
    choice,
    refusals,
    validation,
)
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    reservations,
)
from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from gpu_passthrough_plugin.allocation.placement.reading import (
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
from gpu_passthrough_plugin.model.unit import State, UnitKey

# Of so many of the best, one is taken by chance once others were faster.
_FEW = 4


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What is to be claimed, for whom, and where.

    :param host: the one host that it is to be; None for any.
    """

    request: Request
    consumer: str
    host: str | None
    weight: Weight


def claim(
    service: Service, claim_request: ClaimRequest, attempt: int
) -> Allocation:
    """What the consumer holds then.

    :param attempt: how often this was tried before.
    :raises NoValidHost: when nothing fits.
    :raises Refused: when the consumer holds something else.
    :raises Retry: when others were faster.
    """
    asked = names.user_id(claim_request.request)
    held = _held(service, claim_request, asked)
    if held is not None:
        return held
    request = claim_request.request
    found = reading.read_fleet(
        service,
        claim_request.host,
        is_offered=True,
        aggregate=request.aggregate,
    )
    best = candidates(found, request, claim_request.weight, _FEW)
    if not best:
        raise _none_left(service, found, claim_request, attempt)
    units = _units(found, best[0] if attempt == 0 else _any_of(best))
    return Allocation(
        consumer=claim_request.consumer,
        host=units[0].record.unit.key.host,
        request=str(request),
        units=reservations.acquire(
            service, claim_request.consumer, units, asked, attempt
        ),
    )


def _none_left(
    service: Service, found: Fleet, claim_request: ClaimRequest, attempt: int
) -> Exception:
    """What to raise when nothing that is offered fits.

    What others bid for may become theirs, or free again.
    """
    free = found.without_reservations()
    best = candidates(free, claim_request.request, claim_request.weight, 1)
    if not best:
        return _no_valid_host(service, claim_request)
    if attempt >= reservations.PATIENT_ATTEMPTS:
        reservations.withdraw(service, _units(found, best[0]))
    return reservations.lost_race(str(claim_request.request))


def _held(
    service: Service, claim_request: ClaimRequest, asked: str
) -> Allocation | None:
    """What the consumer holds already; None if nothing.

    :raises Refused: when that is not what it asks for now.
    """
    request = claim_request.request

    def is_here(host: str) -> bool:
        return claim_request.host in (
            None,
            host,
        ) and reading.is_in_aggregate(service, host, request.aggregate)

    def is_wanted(bidder: Consumer, units: Sequence[StoredUnit]) -> bool:
        return bidder.asked == asked and is_here(units[0].record.unit.key.host)

    held = reservations.resume(service, claim_request.consumer, is_wanted)
    if held is None:
        return None
    text = names.request_in(held.asked)
    if not (names.is_same_request(held.asked, request) and is_here(held.host)):
        raise refusals.consumer_holds_other(
            claim_request.consumer, text, held.host
        )
    return Allocation(claim_request.consumer, held.host, text, held.units)


def _no_valid_host(
    service: Service, claim_request: ClaimRequest
) -> errors.NoValidHost:
    """Return why nothing fits, with the numbers of a fleet of usual size."""
    fleet = reading.read_fleet(service, claim_request.host)
    hosts = [host.record for host in fleet.hosts]
    aggregate = claim_request.request.aggregate
    if aggregate is not None:
        # The records do not have aggregates that Nova mirrors here.
        within = reading.read_fleet(
            service, claim_request.host, aggregate=aggregate
        )
        members = {host.name for host in within.hosts}
        hosts = [
            dataclasses.replace(
                host,
                aggregates=frozenset(
                    {aggregate} if host.name in members else ()
                ),
            )
            for host in hosts
        ]
    is_counted = (
        claim_request.host or len(fleet.units) <= refusals.MAX_COUNTED_UNITS
    )
    return refusals.no_valid_host(
        claim_request.request,
        claim_request.host,
        hosts,
        [stored.record for stored in fleet.units] if is_counted else None,
    )


def _any_of(best: Sequence[Candidate]) -> Candidate:
    return random.choice(best)  # noqa: S311 - no secret


def _units(found: Fleet, best: Candidate) -> list[StoredUnit]:
    wanted = {free.unit.key for free in best.units}
    return [s for s in found.units if s.record.unit.key in wanted]


def claim_units(
    service: Service,
    keys: Collection[UnitKey],
    consumer: str,
    request: str,
    attempt: int,
) -> Allocation:
    """What the consumer holds then.

    :param attempt: how often this was tried before.
    :raises Refused: when the host is disabled, a unit is gone, or the
        consumer holds others.
    :raises Conflict: when another one holds a unit.
    :raises Retry: when others changed one meanwhile.
    :raises Unavailable: when Placement does not understand the claim.
    """
    held = _units_held(service, consumer, keys)
    if held is not None:
        validation.require_same(held, keys)
        return held
    units = _offered(service, keys)
    return Allocation(
        consumer=consumer,
        host=units[0].record.unit.key.host,
        request=request,
        units=reservations.acquire(service, consumer, units, request, attempt),
    )


def _units_held(
    service: Service, consumer: str, keys: Collection[UnitKey]
) -> Allocation | None:
    def is_wanted(_: Consumer, units: Sequence[StoredUnit]) -> bool:
        return {unit.record.unit.key for unit in units} == set(keys)

    held = reservations.resume(service, consumer, is_wanted)
    if held is None:
        return None
    return Allocation(consumer, held.host, held.asked, held.units)


def _offered(service: Service, keys: Collection[UnitKey]) -> list[StoredUnit]:
    name = next(iter(keys)).host
    fleet = reading.read_fleet(service, name)
    for host in fleet.hosts:
        if host.record.is_disabled:
            validation.require_enabled(name, host.record.reason)
    units = [s for s in fleet.units if s.record.unit.key in keys]
    for key in sorted(set(keys) - {s.record.unit.key for s in units}):
        raise refusals.unit_unknown(key)
    for unit in units:
        if unit.record.state is not State.FREE or unit.record.is_missing:
            raise refusals.unit_not_free(unit.record)
    return units


def candidates(
    found: Fleet, request: Request, weight: Weight, limit: int
) -> tuple[Candidate, ...]:
    """Where the request fits, in the order in which a claim takes it."""
    of_host: dict[str, list[StoredUnit]] = {h.name: [] for h in found.hosts}
    for stored in found.units:
        of_host[stored.record.unit.key.host].append(stored)
    best: list[Candidate] = []
    for host in _hosts(of_host, request, weight):
        best += _candidates(of_host[host], request, limit)
        if len(best) >= limit:
            break
    return tuple(best[:limit])


def _candidates(
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


def _hosts(
    of_host: dict[str, list[StoredUnit]], request: Request, weight: Weight
) -> Iterator[str]:
    """Hosts that may have what is asked for, each once."""
    all_units = [s.record.unit for units in of_host.values() for s in units]
    wanted = capacity.wanted(request, capacity.cards(all_units))
    if wanted is None:
        return
    counts = {
        host: capacity.count(s.record.unit for s in units if s.is_offered)
        for host, units in of_host.items()
    }
    seen: set[str] = set()
    for need in wanted.needs:
        share = -(-need.number // len(wanted.cards))
        for card in wanted.cards:
            free = {
                host: count.get((card, need.place), 0)
                for host, count in counts.items()
            }
            for host in _by_weight(free, weight, share):
                if host not in seen:
                    seen.add(host)
                    yield host


def _by_weight(
    free: dict[str, int], weight: Weight, share: int
) -> Iterable[str]:
    sign = 1 if weight is Weight.PACK else -1
    return sorted(
        (host for host, number in free.items() if number >= share),
        key=lambda host: (sign * free[host], host),
    )

"""Which hosts a claim looks at, in which order: pure.

The order is ``allocation.supply``'s, as that of every ledger: where the
request finds what it prefers, then by the operator's weight, then by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gpu_passthrough_plugin.allocation import choice, supply
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Stored
from gpu_passthrough_plugin.model.allocation import (
    Candidate,
    FreeUnit,
    Weight,
)
from gpu_passthrough_plugin.model.request import Request


def candidates(
    found: Fleet, request: Request, weight: Weight, limit: int
) -> tuple[Candidate, ...]:
    """Where the request fits, in the order in which a claim takes it."""
    of_host: dict[str, list[Stored]] = {h.name: [] for h in found.hosts}
    for stored in found.units:
        of_host[stored.record.unit.key.host].append(stored)
    best: list[Candidate] = []
    for host in _hosts(of_host, request, weight):
        best += _candidates(of_host[host], request, limit)
        if len(best) >= limit:
            break
    return tuple(best[:limit])


def _candidates(
    units: Sequence[Stored], request: Request, limit: int
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
    of_host: dict[str, list[Stored]], request: Request, weight: Weight
) -> Iterator[str]:
    """Hosts that may have what is asked for, each once."""
    all_units = [s.record.unit for units in of_host.values() for s in units]
    wanted = supply.wanted(request, supply.cards(all_units))
    if wanted is None:
        return
    counts = {
        host: supply.count(s.record.unit for s in units if s.is_offered)
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

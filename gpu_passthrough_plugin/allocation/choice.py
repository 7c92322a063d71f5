"""Which free units a request gets; pure, and the same on every host.

A candidate is a *minimal* set of one host's units: it satisfies the
request and the NUMA policies (``allocation.affinity``), none of its units
has a trait that the request forbids, all are below one PCIe switch if the
request asks for that, and no unit of it could be left out.  Sets are
ordered by the first of these that differs:

1. ``distance``: with an instance tied to NUMA nodes, 0 for each unit on
   them, 1 for one without a node or on the same socket, 2 for any other;
   without, how many nodes beyond the first the set spans.
2. ``waste``: primaries handed out beyond those requested.
3. ``units``: fewer are better, beyond the first.
4. ``nodes``: NUMA nodes broken that were wholly free.
5. ``switches``: PCIe switches broken that were wholly free.
6. ``node rest``: free units left on the nodes touched (best fit).
7. ``switch rest``: the same on the switches touched.
8. The host's name, then the units' addresses.

Units that are interchangeable (alike in devices, node and switch) are taken
by address, and no two candidates differ only by such units.

A candidate's score is the first seven, two decimal digits each and 99 at
most, read from the left: 101000100 has one node too many, no waste, one
unit beyond the first, none broken but a switch, and fits exactly.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin.allocation.cost import RankedSet
from gpu_passthrough_plugin.allocation.host_signature import (
    HostSignature,
    Matcher,
    signature,
)
from gpu_passthrough_plugin.allocation.search import search
from gpu_passthrough_plugin.model.allocation import Candidate, FreeUnit
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import Unit

# Enough for the signatures that a fleet's hosts have as they fill up.
_search = functools.lru_cache(512)(search)
_matcher = functools.lru_cache(128)(Matcher)


def candidates(
    request: Request,
    free: Iterable[FreeUnit],
    taken: Iterable[Unit] = (),
    *,
    limit: int,
) -> tuple[Candidate, ...]:
    """Return up to ``limit`` sets of free units that satisfy the request.

    :param free: of any number of hosts, in any order.
    :param taken: units of the same hosts that are not free, which tell
        what is wholly free and which socket a NUMA node is on.
    """
    hosts = _by_host(free)
    others: dict[str, list[Unit]] = {}
    for unit in taken:
        others.setdefault(unit.key.host, []).append(unit)
    ranked: Iterable[tuple[str, RankedSet]] = _best_of_each(
        request, hosts, others, limit
    )
    if len(hosts) > 1:
        ranked = heapq.nsmallest(
            limit,
            ranked,
            key=lambda entry: (entry[1].cost, entry[0], entry[1].indexes),
        )
    return tuple(
        Candidate(
            host, tuple([hosts[host][i] for i in best.indexes]), best.score
        )
        for host, best in ranked
    )


def _by_host(free: Iterable[FreeUnit]) -> dict[str, list[FreeUnit]]:
    hosts: dict[str, list[FreeUnit]] = {}
    for entry in free:
        hosts.setdefault(entry.unit.key.host, []).append(entry)
    for entries in hosts.values():
        entries.sort(key=lambda entry: entry.unit.key.address)
    return hosts


def _best_of_each(
    request: Request,
    hosts: Mapping[str, Sequence[FreeUnit]],
    taken: Mapping[str, Sequence[Unit]],
    limit: int,
) -> Iterator[tuple[str, RankedSet]]:
    """Yield every host's best sets; of equal hosts only the first few."""
    matcher = _matcher(request)
    equal: dict[HostSignature, list[str]] = {}
    for host in sorted(hosts):
        units = [entry.unit for entry in hosts[host]]
        key = signature(units, taken.get(host, ()), matcher)
        equal.setdefault(key, []).append(host)
    for key, names in equal.items():
        best = _search(request, key, limit)
        yield from itertools.product(names[:limit], best)

"""What a request costs a host: how far apart it lies, and what it leaves.

``allocation.choice`` weighs the same for this project's own ledger.  Nova's
scheduler shows only what is free, so that a node with some units taken
cannot be told from a small one.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.nova.candidates import Candidate, slots_of
from gpu_passthrough_plugin.nova.pools import AliasRequest, Pool

GroupKey = tuple[str | None, str | None]


class Cost(NamedTuple):
    """The parts in their order; less of the first that differs is better.

    :param nodes: NUMA nodes beyond the first that it spans.
    :param switches: PCIe switches beyond the first.
    :param node_rest: what fits and stays free on these nodes: groups, and
        functions outside of any.
    :param switch_rest: the same below these switches.
    """

    nodes: int
    switches: int
    node_rest: int
    switch_rest: int


def cost(
    pools: Sequence[Pool],
    requests: Sequence[AliasRequest],
    offered: Sequence[Candidate],
) -> Cost | None:
    """Return what the first candidate costs; None if nothing is requested.

    It is the one that the scheduler claims.  Where it names no functions,
    because Placement is not asked for them, Nova takes the first that fit.

    :param pools: free functions of the host.
    :param offered: the candidates that the filters left.
    """
    if not requests:
        return None
    taken = collections.Counter(_taken(pools, requests, offered))
    touched = [pool for pool in pools if taken[pool.group_key]]
    nodes = {pool.numa_node for pool in touched}
    switches = {_switch(pool) for pool in touched}
    same_nodes = [
        pool
        for pool in pools
        if pool.numa_node in nodes
        and any(request.accepts(pool) for request in requests)
    ]
    same_switches = [p for p in same_nodes if _switch(p) in switches]
    return Cost(
        nodes=max(len(nodes) - 1, 0),
        switches=max(len(switches) - 1, 0),
        node_rest=_rest(same_nodes, taken),
        switch_rest=_rest(same_switches, taken),
    )


def weights(costs: Sequence[Cost | None]) -> list[float]:
    """Return a weight for each host: the less it costs, the more.

    By rank, so that a small step counts next to a larger one.  A host whose
    cost is not known comes last.
    """
    ranked = sorted({cost for cost in costs if cost is not None}, reverse=True)
    ranks = {cost: float(rank) for rank, cost in enumerate(ranked, 1)}
    return [0.0 if cost is None else ranks[cost] for cost in costs]


def _taken(
    pools: Sequence[Pool],
    requests: Sequence[AliasRequest],
    offered: Sequence[Candidate],
) -> Iterator[GroupKey]:
    """Yield the group of each function that it takes."""
    keys = {pool.provider: pool.group_key for pool in pools if pool.provider}
    free = {pool.group_key: pool.count for pool in pools}
    for request in requests:
        slots = slots_of(request, offered[0]) if offered else []
        if not slots:
            yield from _first(pools, request, free)
        for slot in slots:
            for provider in offered[0]["mappings"][slot]:
                if provider in keys:
                    yield keys[provider]


def _first(
    pools: Sequence[Pool], request: AliasRequest, free: dict[GroupKey, int]
) -> Iterator[GroupKey]:
    """Yield the groups of the first functions that fit; reduces ``free``.

    Source: nova, pci/stats.py (``_apply_request``).
    """
    missing = request.count
    for pool in pools:
        if request.accepts(pool):
            count = min(missing, free[pool.group_key])
            free[pool.group_key] -= count
            missing -= count
            yield from itertools.repeat(pool.group_key, count)


def _switch(pool: Pool) -> Hashable:
    """Return what it shares with its neighbours; itself if not known."""
    if pool.switch is None:
        return pool.group_key
    return pool.numa_node, pool.switch


def _rest(pools: Sequence[Pool], taken: collections.Counter[GroupKey]) -> int:
    groups = {p.group_key for p in pools if p.group and not taken[p.group_key]}
    single = {p.group_key: p.count for p in pools if not p.group}
    return len(groups) + sum(
        max(count - taken[key], 0) for key, count in single.items()
    )

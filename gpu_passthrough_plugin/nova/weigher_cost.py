"""What a request costs a host: how far apart it lies, and what it leaves.

``allocation.choice`` weighs the same for our own ledger.  Nova's scheduler
shows what is free and nothing else, so that a node that is broken already
is not known from a small one.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.nova.candidates import Candidate, slots_of
from gpu_passthrough_plugin.nova.pools import Ask, Pool

Piece = tuple[str | None, str | None]


class Cost(NamedTuple):
    """The parts in their order; less of the first that differs is better.

    :param nodes: NUMA nodes beyond the first that it spans.
    :param switches: PCIe switches beyond the first.
    :param node_rest: what suits and stays free on these nodes: groups, and
        functions outside of any.
    :param switch_rest: the same below these switches.
    """

    nodes: int
    switches: int
    node_rest: int
    switch_rest: int


def cost(
    pools: Sequence[Pool], asks: Sequence[Ask], offered: Sequence[Candidate]
) -> Cost | None:
    """What the first candidate costs; None where nothing is asked for.

    It is the one that the scheduler claims.  Where it names no functions,
    because Placement is not asked for them, Nova takes the first that
    suit.

    :param pools: free functions of the host.
    :param offered: the candidates that the filters left.
    """
    if not asks:
        return None
    taken = collections.Counter(_taken(pools, asks, offered))
    touched = [pool for pool in pools if taken[pool.piece]]
    nodes = {pool.node for pool in touched}
    switches = {_switch(pool) for pool in touched}
    left = [
        pool
        for pool in pools
        if pool.node in nodes and any(ask.suits(pool) for ask in asks)
    ]
    near = [pool for pool in left if _switch(pool) in switches]
    return Cost(
        nodes=max(len(nodes) - 1, 0),
        switches=max(len(switches) - 1, 0),
        node_rest=_rest(left, taken),
        switch_rest=_rest(near, taken),
    )


def weights(costs: Sequence[Cost | None]) -> list[float]:
    """A weight for each host: the more, the less it costs.

    By rank, so that no step is lost beside a larger one.  A host whose
    cost is not known comes last.
    """
    known = sorted({cost for cost in costs if cost is not None}, reverse=True)
    ranks = {cost: float(rank) for rank, cost in enumerate(known, 1)}
    return [0.0 if cost is None else ranks[cost] for cost in costs]


def _taken(
    pools: Sequence[Pool], asks: Sequence[Ask], offered: Sequence[Candidate]
) -> Iterator[Piece]:
    """The piece of each function that it takes."""
    pieces = {pool.provider: pool.piece for pool in pools if pool.provider}
    free = {pool.piece: pool.count for pool in pools}
    for ask in asks:
        slots = slots_of(ask, offered[0]) if offered else []
        if not slots:
            yield from _first(pools, ask, free)
        for slot in slots:
            for provider in offered[0]["mappings"][slot]:
                if provider in pieces:
                    yield pieces[provider]


def _first(
    pools: Sequence[Pool], ask: Ask, free: dict[Piece, int]
) -> Iterator[Piece]:
    """The pieces of the first functions that suit; ``free`` has less then.

    Source: nova, pci/stats.py (``_apply_request``).
    """
    wanted = ask.count
    for pool in pools:
        if ask.suits(pool):
            count = min(wanted, free[pool.piece])
            free[pool.piece] -= count
            wanted -= count
            yield from itertools.repeat(pool.piece, count)


def _switch(pool: Pool) -> Hashable:
    """What it shares with its neighbours; itself where that is not known."""
    return pool.piece if pool.switch is None else (pool.node, pool.switch)


def _rest(left: Sequence[Pool], taken: collections.Counter[Piece]) -> int:
    groups = {p.piece for p in left if p.group and not taken[p.piece]}
    single = {p.piece: p.count for p in left if not p.group}
    return len(groups) + sum(
        max(count - taken[piece], 0) for piece, count in single.items()
    )

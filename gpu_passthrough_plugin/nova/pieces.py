"""A host's free functions as pieces that are handed out whole."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin.nova.cover import Piece, Share, Vector
from gpu_passthrough_plugin.nova.pools import Ask, Pool


def takers(
    pools: Iterable[Pool],
    asks: Sequence[Ask],
    named: Sequence[frozenset[str]],
) -> Mapping[str, tuple[int, ...]]:
    """Which aliases each provider can count for.

    Resource class and traits are Placement's to check, and it checks
    traits only when it is asked for candidates.  So a provider is taken
    that it named, or one of the kind of those whose tag has the traits.
    """
    pools = [pool for pool in pools if pool.provider is not None]
    kinds = [
        frozenset(p.kind for p in pools if p.provider in providers)
        for providers in named
    ]
    return {
        pool.provider or "": tuple(
            number
            for number, ask in enumerate(asks)
            if ask.suits(pool)
            and (
                pool.provider in named[number]
                or (pool.kind in kinds[number] and ask.traits <= pool.traits)
            )
        )
        for pool in pools
    }


def pieces(
    pools: Iterable[Pool],
    taken_for: Mapping[str, tuple[int, ...]],
    wanted: Vector,
    named: frozenset[str],
) -> list[Piece]:
    """What is handed out as one and suits, the largest first."""
    groups: dict[tuple[str | None, str | None], list[Pool]] = {}
    for pool in pools:
        groups.setdefault(pool.piece, []).append(pool)
    found = []
    for (group, _), members in groups.items():
        ways = _ways(members, taken_for, wanted, is_whole=group is not None)
        if ways:
            nodes = [p.node for p in members if p.node is not None]
            switches = [p.switch for p in members if p.switch is not None]
            found.append(
                Piece(
                    name=members[0].address,
                    node=nodes[0] if nodes else None,
                    switch=switches[0] if switches else None,
                    is_offered=any(p.provider in named for p in members),
                    ways=ways,
                )
            )
    return sorted(found, key=lambda p: (-max(map(sum, p.ways)), p.name))


def _ways(
    members: Sequence[Pool],
    taken_for: Mapping[str, tuple[int, ...]],
    wanted: Vector,
    is_whole: bool,
) -> Mapping[Vector, Share]:
    """What the pools of one piece can count for; nothing if they do not.

    :param is_whole: whether all of them have to be taken.
    """
    total = sum(pool.count for pool in members)
    if any(p.size not in (None, total) for p in members):
        return {}
    nothing: Share = tuple(() for _ in wanted)
    ways = {tuple(0 for _ in wanted): nothing}
    for pool in members:
        ways = dict(_with(pool, ways, taken_for, wanted, is_whole))
    return {way: share for way, share in ways.items() if any(way)}


def _with(
    pool: Pool,
    ways: Mapping[Vector, Share],
    taken_for: Mapping[str, tuple[int, ...]],
    wanted: Vector,
    is_whole: bool,
) -> Iterator[tuple[Vector, Share]]:
    """The ways, each with the functions of one pool more."""
    if pool.provider is None:
        return
    most = min(pool.count, sum(wanted))
    least = pool.count if is_whole else 0
    for way, share in ways.items():
        for number in range(least, most + 1):
            for taken in itertools.combinations_with_replacement(
                taken_for[pool.provider], number
            ):
                more = collections.Counter(taken)
                sums = tuple(n + more[i] for i, n in enumerate(way))
                if all(n <= w for n, w in zip(sums, wanted, strict=True)):
                    yield (
                        sums,
                        tuple(
                            (*had, *itertools.repeat(pool.provider, more[i]))
                            for i, had in enumerate(share)
                        ),
                    )

"""Allocation candidates of whole IOMMU groups, built from what is free.

Placement knows providers, one for each function, and no groups.  On a
host with many cards it names functions of different cards together, and
its answer ends long before one that is whole: so those that are whole
are not picked out of the answer but built.  What the answer says of
everything else (CPUs, memory, disks) is kept.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

from gpu_passthrough_plugin.nova import exact_cover
from gpu_passthrough_plugin.nova.exact_cover import (
    Locality,
    Piece,
    Share,
    Vector,
)
from gpu_passthrough_plugin.nova.pools import Ask, Pool

# The scheduler claims the first one that other filters leave, and each
# costs those filters their time.
_BASES = 8
_MOST = 128


class Resources(TypedDict):
    """Of one provider: an amount of each class."""

    resources: dict[str, int]


class Candidate(TypedDict):
    """One way to place an instance.

    Source: Placement's API, ``GET /allocation_candidates`` since 1.34.

    :param allocations: by the provider's UUID.
    :param mappings: the providers of each request group, by its suffix;
        a flavor's PCI request has one for each function that it asks for.
    """

    allocations: dict[str, Resources]
    mappings: dict[str, list[str]]


class _Base(NamedTuple):
    """A candidate without its PCI functions, and the class of each."""

    candidate: Candidate
    classes: Mapping[str, str]


def build(
    pools: Sequence[Pool],
    asks: Sequence[Ask],
    offered: Sequence[Candidate],
    locality: Locality | None = None,
) -> tuple[Candidate, ...] | None:
    """Candidates of whole groups, the best first; none where none fits.

    None when the host's candidates can stay as they are: none of its
    functions that suit are in a group with a tag, and the flavor does not
    want them together.

    Below one switch before several, on one NUMA node before two, on the
    node and switch with the fewest pieces left that suit, then by address.
    What Placement named goes before what it did not name, which may be
    claimed already.

    :param pools: free functions of the host.
    :param asks: what the flavor asks for.
    :param offered: what Placement said of the host.
    :param locality: where all of them have to be together.
    """
    can_choose = [p for p in pools if p.group or locality]
    suited = [a for a in asks if any(a.suits(p) for p in can_choose)]
    if not suited:
        return None
    if not offered or not all(_is_mapped(a, offered[0]) for a in suited):
        return ()
    mapped = [a for a in asks if _is_mapped(a, offered[0])]
    named = [_named(ask, offered) for ask in mapped]
    takers = _takers(pools, mapped, named)
    if not any(takers.get(p.provider or "") for p in can_choose):
        return None
    wanted = tuple(ask.count for ask in mapped)
    whole = _pieces(pools, takers, wanted, frozenset().union(*named))
    slots = [slots_of(ask, offered[0]) for ask in mapped]
    bases = _bases(offered, list(itertools.chain(*slots)))
    built = (
        _candidate(base, slots, share)
        for share in exact_cover.shares(whole, wanted, locality)
        for base in bases
    )
    return tuple(itertools.islice(built, _MOST))


def slots_of(ask: Ask, candidate: Candidate) -> list[str]:
    """The request groups of an alias: one for each function.

    Source: nova, objects/request_spec.py: the request's id, ``-`` and a
    number.
    """
    begin = f"{ask.key}-"
    return sorted(s for s in candidate["mappings"] if s.startswith(begin))


def _is_mapped(ask: Ask, candidate: Candidate) -> bool:
    return len(slots_of(ask, candidate)) == ask.count


def _named(ask: Ask, offered: Iterable[Candidate]) -> frozenset[str]:
    """Every provider that Placement named for the alias."""
    return frozenset(
        provider
        for candidate in offered
        for slot in slots_of(ask, candidate)
        for provider in candidate["mappings"][slot]
    )


def _bases(offered: Iterable[Candidate], slots: Sequence[str]) -> list[_Base]:
    """What the candidates have beside PCI functions, each once."""
    bases: list[_Base] = []
    for candidate in offered:
        base = _base(candidate, slots)
        if base not in bases:
            bases.append(base)
        if len(bases) == _BASES:
            break
    return bases


def _base(candidate: Candidate, slots: Sequence[str]) -> _Base:
    """:raises ValueError: when a function's provider has two classes."""
    classes = {}
    allocations = dict(candidate["allocations"])
    for slot in slots:
        (provider,) = candidate["mappings"][slot]
        (classes[slot],) = candidate["allocations"][provider]["resources"]
        allocations.pop(provider, None)
    mappings = {
        suffix: providers
        for suffix, providers in candidate["mappings"].items()
        if suffix not in classes
    }
    return _Base({"allocations": allocations, "mappings": mappings}, classes)


def _candidate(
    base: _Base, slots: Sequence[Sequence[str]], share: Share
) -> Candidate:
    """The base, with these providers in the aliases' request groups."""
    allocations = dict(base.candidate["allocations"])
    mappings = dict(base.candidate["mappings"])
    for of_ask, providers in zip(slots, share, strict=True):
        for slot, provider in zip(of_ask, providers, strict=True):
            mappings[slot] = [provider]
            had = allocations.get(provider, {"resources": {}})["resources"]
            count = had.get(base.classes[slot], 0) + 1
            allocations[provider] = {
                "resources": {**had, base.classes[slot]: count}
            }
    return {"allocations": allocations, "mappings": mappings}


def _takers(
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


def _pieces(
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

"""Allocation candidates of whole IOMMU groups, built from what is free.

Placement knows providers, one for each function, and no groups.  On a
host with many cards it names functions of different cards together, and
its answer ends long before one that is whole: so those that are whole
are not picked out of the answer but built.  What the answer says of
everything else (CPUs, memory, disks) is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypedDict

from gpu_passthrough_plugin.nova import cover, pieces
from gpu_passthrough_plugin.nova.cover import Locality, Share
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
    takers = pieces.takers(pools, mapped, named)
    if not any(takers.get(p.provider or "") for p in can_choose):
        return None
    wanted = tuple(ask.count for ask in mapped)
    whole = pieces.pieces(pools, takers, wanted, frozenset().union(*named))
    slots = [slots_of(ask, offered[0]) for ask in mapped]
    bases = _bases(offered, list(itertools.chain(*slots)))
    built = (
        _candidate(base, slots, share)
        for share in cover.shares(whole, wanted, locality)
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

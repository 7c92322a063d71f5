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
    AllocatableGroup,
    Counts,
    Locality,
    Providers,
)
from gpu_passthrough_plugin.nova.pools import AliasRequest, Pool

# The scheduler claims the first one that other filters leave, and each
# costs those filters their time.
_MAX_BASES = 8
_MAX_CANDIDATES = 128


class Resources(TypedDict):
    """What is allocated of one provider: an amount of each class."""

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
    requests: Sequence[AliasRequest],
    offered: Sequence[Candidate],
    locality: Locality | None = None,
) -> tuple[Candidate, ...] | None:
    """Return candidates of whole groups, the best first; none if none fits.

    None when the host's candidates can stay as they are: none of its
    functions that fit are in a group with a tag, and the flavor does not
    require a locality.

    Below one switch before several, on one NUMA node before two, on the
    node and switch with the fewest groups left that fit, then by address.
    What Placement named goes before what it did not name, which may be
    claimed already.

    :param pools: free functions of the host.
    :param requests: what the flavor asks for.
    :param offered: Placement's candidates for the host.
    :param locality: how close to each other all of them have to be.
    """
    grouped = [p for p in pools if p.group or locality]
    relevant = [r for r in requests if any(r.accepts(p) for p in grouped)]
    if not relevant:
        return None
    if not offered or not all(_is_mapped(r, offered[0]) for r in relevant):
        return ()
    mapped = [r for r in requests if _is_mapped(r, offered[0])]
    named = [_named(request, offered) for request in mapped]
    aliases = _aliases_of_providers(pools, mapped, named)
    if not any(aliases.get(p.provider or "") for p in grouped):
        return None
    counts = tuple(request.count for request in mapped)
    groups = _groups(pools, aliases, counts, frozenset().union(*named))
    slots = [slots_of(request, offered[0]) for request in mapped]
    bases = _bases(offered, list(itertools.chain(*slots)))
    built = (
        _candidate(base, slots, providers)
        for providers in exact_cover.provider_sets(groups, counts, locality)
        for base in bases
    )
    return tuple(itertools.islice(built, _MAX_CANDIDATES))


class Rejection(NamedTuple):
    """Why ``build`` found no candidate for a host.

    :param offered: how many candidates Placement named.
    :param requested: how many functions the flavor's aliases ask for.
    :param groups: free groups with a function that one of them accepts, or
        such functions without a group.
    :param incomplete: of these, groups of which some function is not free.
    :param unmatched: of these, groups with a function that no alias counts,
        or that Placement did not name for any.
    :param locality: what the flavor requires, if only that is not kept.
    """

    offered: int
    requested: int
    groups: int
    incomplete: int
    unmatched: int
    locality: Locality | None

    def __str__(self) -> str:
        if not self.offered:
            return "Placement names no candidate for it"
        causes = [
            f"{number} {text}"
            for number, text in (
                (self.incomplete, "not wholly free"),
                (self.unmatched, "with a function that no alias accepts"),
            )
            if number
        ]
        free = self.groups - self.incomplete - self.unmatched
        causes.append(f"{free} that can be taken whole")
        text = (
            f"the flavor asks for {self.requested} functions;"
            f" {self.groups} groups have some of these free:"
            f" {', '.join(causes)}"
        )
        if self.locality is not None:
            text += f", but not enough of them with {self.locality}"
        return text


def rejection(
    pools: Sequence[Pool],
    requests: Sequence[AliasRequest],
    offered: Sequence[Candidate],
    locality: Locality | None = None,
) -> Rejection:
    """Return why ``build`` found no candidate, with the same arguments."""
    relevant = [p for p in pools if any(r.accepts(p) for r in requests)]
    keys = {pool.group_key for pool in relevant}
    members = [pool for pool in pools if pool.group_key in keys]
    totals: collections.Counter[tuple[str | None, str | None]] = (
        collections.Counter()
    )
    for pool in members:
        totals[pool.group_key] += pool.count
    incomplete = {
        pool.group_key
        for pool in members
        if pool.group_size not in (None, totals[pool.group_key])
    }
    mapped = [r for r in requests if offered and _is_mapped(r, offered[0])]
    named = [_named(request, offered) for request in mapped]
    aliases = _aliases_of_providers(members, mapped, named)
    counts = tuple(request.count for request in mapped)
    groups = _groups(members, aliases, counts, frozenset().union(*named))
    is_far = locality is not None and any(
        exact_cover.provider_sets(groups, counts, None)
    )
    return Rejection(
        offered=len(offered),
        requested=sum(request.count for request in requests),
        groups=len(keys),
        incomplete=len(incomplete),
        unmatched=len(keys) - len(incomplete) - len(groups),
        locality=locality if is_far else None,
    )


def slots_of(request: AliasRequest, candidate: Candidate) -> list[str]:
    """Return the request groups of an alias: one for each function.

    Source: nova, objects/request_spec.py: the request's id, ``-`` and a
    number.
    """
    prefix = f"{request.request_id}-"
    return sorted(s for s in candidate["mappings"] if s.startswith(prefix))


def _is_mapped(request: AliasRequest, candidate: Candidate) -> bool:
    return len(slots_of(request, candidate)) == request.count


def _named(
    request: AliasRequest, offered: Iterable[Candidate]
) -> frozenset[str]:
    """Return every provider that Placement named for the alias."""
    return frozenset(
        provider
        for candidate in offered
        for slot in slots_of(request, candidate)
        for provider in candidate["mappings"][slot]
    )


def _bases(offered: Iterable[Candidate], slots: Sequence[str]) -> list[_Base]:
    """Return what candidates have in addition to PCI functions, each once."""
    bases: list[_Base] = []
    for candidate in offered:
        base = _base(candidate, slots)
        if base not in bases:
            bases.append(base)
        if len(bases) == _MAX_BASES:
            break
    return bases


def _base(candidate: Candidate, slots: Sequence[str]) -> _Base:
    """Return a candidate without what its functions' slots take.

    :raises ValueError: when a function's provider has two classes.
    """
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
    base: _Base, slots: Sequence[Sequence[str]], providers: Providers
) -> Candidate:
    """Return the base with these providers in the aliases' request groups."""
    allocations = dict(base.candidate["allocations"])
    mappings = dict(base.candidate["mappings"])
    for slots_of_alias, of_alias in zip(slots, providers, strict=True):
        for slot, provider in zip(slots_of_alias, of_alias, strict=True):
            mappings[slot] = [provider]
            allocated = allocations.get(provider, {"resources": {}})
            amounts = allocated["resources"]
            count = amounts.get(base.classes[slot], 0) + 1
            allocations[provider] = {
                "resources": {**amounts, base.classes[slot]: count}
            }
    return {"allocations": allocations, "mappings": mappings}


def _aliases_of_providers(
    pools: Iterable[Pool],
    requests: Sequence[AliasRequest],
    named: Sequence[frozenset[str]],
) -> Mapping[str, tuple[int, ...]]:
    """Return which aliases, by number, each provider can count for.

    Resource class and traits are Placement's to check, and it checks
    traits only when it is asked for candidates.  So a provider counts that
    it named, or one of the kind of those whose tag has the traits.
    """
    pools = [pool for pool in pools if pool.provider is not None]
    kinds = [
        frozenset(p.kind for p in pools if p.provider in providers)
        for providers in named
    ]
    return {
        pool.provider or "": tuple(
            number
            for number, request in enumerate(requests)
            if request.accepts(pool)
            and (
                pool.provider in named[number]
                or (
                    pool.kind in kinds[number]
                    and request.traits <= pool.traits
                )
            )
        )
        for pool in pools
    }


def _groups(
    pools: Iterable[Pool],
    aliases: Mapping[str, tuple[int, ...]],
    counts: Counts,
    named: frozenset[str],
) -> list[AllocatableGroup]:
    """Return the groups that fit the request, the largest first."""
    members_by_key: dict[tuple[str | None, str | None], list[Pool]] = {}
    for pool in pools:
        members_by_key.setdefault(pool.group_key, []).append(pool)
    groups = []
    for (group, _), members in members_by_key.items():
        choices = _choices(members, aliases, counts, group is not None)
        if choices:
            nodes = [p.numa_node for p in members if p.numa_node is not None]
            switches = [p.switch for p in members if p.switch is not None]
            groups.append(
                AllocatableGroup(
                    name=members[0].address,
                    numa_node=nodes[0] if nodes else None,
                    switch=switches[0] if switches else None,
                    is_named=any(p.provider in named for p in members),
                    choices=choices,
                )
            )
    return sorted(groups, key=lambda g: (-max(map(sum, g.choices)), g.name))


def _choices(
    members: Sequence[Pool],
    aliases: Mapping[str, tuple[int, ...]],
    counts: Counts,
    is_whole: bool,
) -> Mapping[Counts, Providers]:
    """Return what the pools of one group can count for; nothing if nothing.

    :param is_whole: whether all of them have to be taken.
    """
    total = sum(pool.count for pool in members)
    if any(p.group_size not in (None, total) for p in members):
        return {}
    nothing: Providers = tuple(() for _ in counts)
    choices = {tuple(0 for _ in counts): nothing}
    for pool in members:
        choices = dict(_with_pool(pool, choices, aliases, counts, is_whole))
    return {taken: made_of for taken, made_of in choices.items() if any(taken)}


def _with_pool(
    pool: Pool,
    choices: Mapping[Counts, Providers],
    aliases: Mapping[str, tuple[int, ...]],
    counts: Counts,
    is_whole: bool,
) -> Iterator[tuple[Counts, Providers]]:
    """Yield the choices, each with functions of one pool more."""
    if pool.provider is None:
        return
    most = min(pool.count, sum(counts))
    least = pool.count if is_whole else 0
    for taken, providers in choices.items():
        for number in range(least, most + 1):
            for added in itertools.combinations_with_replacement(
                aliases[pool.provider], number
            ):
                more = collections.Counter(added)
                sums = tuple(n + more[i] for i, n in enumerate(taken))
                if all(n <= w for n, w in zip(sums, counts, strict=True)):
                    yield (
                        sums,
                        tuple(
                            (*had, *itertools.repeat(pool.provider, more[i]))
                            for i, had in enumerate(providers)
                        ),
                    )

"""Which sets of allocatable groups hold exactly what is requested."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

# Other filters drop some of the sets: there have to be some on each node,
# and each costs those filters their time.
_MAX_SETS_PER_PLACE = 16

Counts = tuple[int, ...]
"""How many functions of each alias, in the order of the aliases."""

Providers = tuple[tuple[str, ...], ...]
"""Providers for each alias: a provider once for each function of it."""


class Locality(enum.StrEnum):
    """How close to each other all groups of a set have to be.

    A single group always is; the place of several has to be known.
    """

    SAME_SWITCH = "same-switch"
    SAME_NODE = "same-node"


class AllocatableGroup(NamedTuple):
    """What is assigned whole: an IOMMU group, or a function without one.

    :param numa_node: None when it has none.
    :param switch: name of the PCIe switch that it shares with others.
    :param is_named: whether Placement named a provider of it.
    :param choices: the counts that it can satisfy, each with the providers
        that make it up.
    """

    name: str
    numa_node: int | None
    switch: str | None
    is_named: bool
    choices: Mapping[Counts, Providers]


Cover = tuple[tuple[AllocatableGroup, Counts], ...]
"""Groups, each with the counts that it is taken for."""

Place = Sequence[AllocatableGroup]
"""Groups among which a set is searched."""


def provider_sets(
    groups: Sequence[AllocatableGroup],
    counts: Counts,
    locality: Locality | None = None,
) -> Iterator[Providers]:
    """Yield the providers of sets that hold ``counts``, the best first.

    Sets of groups that Placement named come before others.
    """
    seen = set()
    named = [group for group in groups if group.is_named]
    for candidates in (named, groups):
        for places in _places(candidates, locality):
            sets = itertools.chain.from_iterable(
                covers(place, counts) for place in places
            )
            some = itertools.islice(sets, _MAX_SETS_PER_PLACE)
            for cover in sorted(some, key=len):
                parts = [group.choices[taken] for group, taken in cover]
                providers = tuple(
                    tuple(itertools.chain(*of_alias))
                    for of_alias in zip(*parts, strict=True)
                )
                if providers not in seen:
                    seen.add(providers)
                    yield providers


def _places(
    groups: Sequence[AllocatableGroup], locality: Locality | None
) -> Iterator[Sequence[Place]]:
    """Yield lists of places to search for a set, in order.

    The groups below one switch of each NUMA node, of each node, of each two
    nodes, and all.  A node with few groups goes first, so that other nodes
    stay whole for larger requests.
    """
    by_node: dict[int | None, list[AllocatableGroup]] = {}
    for group in groups:
        by_node.setdefault(group.numa_node, []).append(group)
    nodes = sorted(
        by_node,
        key=lambda n: (n is None, len(by_node[n]), -1 if n is None else n),
    )
    for node in nodes:
        yield _by_switch(by_node[node])
    if locality is Locality.SAME_SWITCH:
        return
    for node in nodes:
        if node is not None or locality is None:
            yield [by_node[node]]
    if locality is Locality.SAME_NODE:
        return
    for two in itertools.combinations(nodes, 2):
        yield [[group for group in groups if group.numa_node in two]]
    yield [groups]


def _by_switch(groups: Sequence[AllocatableGroup]) -> list[Place]:
    """Return the groups below each switch, the fewest first.

    A group below no known switch is a place of its own.
    """
    below: dict[tuple[str | None, str], list[AllocatableGroup]] = {}
    for group in groups:
        alone = group.name if group.switch is None else ""
        below.setdefault((group.switch, alone), []).append(group)
    return sorted(below.values(), key=len)


def covers(
    groups: Sequence[AllocatableGroup], counts: Counts
) -> Iterator[Cover]:
    """Yield each set of groups whose counts add up to ``counts``.

    Those with groups that come first in ``groups`` come first.
    """
    yield from _covers(groups, counts, 0, set())


def _covers(
    groups: Sequence[AllocatableGroup],
    counts: Counts,
    start: int,
    barren: set[tuple[int, Counts]],
) -> Iterator[Cover]:
    """Yield as ``covers`` does, from index ``start``.

    :param barren: starts known to give no set; skipped, and added to.
    """
    if not any(counts):
        yield ()
        return
    if (start, counts) in barren:
        return
    is_barren = True
    for index in range(start, len(groups)):
        for taken in groups[index].choices:
            left = tuple(w - n for w, n in zip(counts, taken, strict=True))
            if min(left) < 0:
                continue
            for rest in _covers(groups, left, index + 1, barren):
                is_barren = False
                yield (groups[index], taken), *rest
    if is_barren:
        barren.add((start, counts))

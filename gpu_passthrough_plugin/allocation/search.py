"""The best sets of one host's units, by dynamic programming.

Groups of interchangeable units are visited node by node and switch by
switch, so that touching either is paid for once.  Partial sets that have
the same future are one state, of which the cheapest few are kept; since
costs add up (``allocation.cost``), that loses nothing.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.allocation import affinity
from gpu_passthrough_plugin.allocation.affinity import Fit
from gpu_passthrough_plugin.allocation.cost import Found, Tariff
from gpu_passthrough_plugin.allocation.host_signature import (
    Kind,
    Shape,
    Slot,
)
from gpu_passthrough_plugin.model.request import Request

Supply = tuple[int, ...]
"""How many primaries there are of each kind."""


class Group(NamedTuple):
    """Units alike in kinds, primaries, NUMA node and switch.

    :param supply: what each of them supplies.
    :param slots: their positions, by address.
    """

    supply: Supply
    slots: tuple[int, ...]


Tree = Mapping[int | None, Mapping[int | None, Sequence[Group]]]
"""Groups by NUMA node and switch."""


class _State(NamedTuple):
    """What decides the future of a partial set.

    :param profiles: what each of its units supplies, repeats left out.
    """

    supply: Supply
    profiles: frozenset[Supply]
    on_node: bool
    on_switch: bool


_Best = dict[_State, list[int]]
"""The least costs of each state, ascending."""


def search(request: Request, shape: Shape, limit: int) -> tuple[Found, ...]:
    """Up to ``limit`` minimal sets of a host, best first."""
    ways = list(_ways(request, shape))
    found: set[Found] = set()
    for among, fits in ways:
        found.update(_Search(request, shape, among, fits, limit).run())
    ranked = sorted(found, key=lambda f: (f.cost, f.slots))
    if len(ways) > 1:
        ranked = _without_supersets(ranked)
    return tuple(ranked[:limit])


def _ways(
    request: Request, shape: Shape
) -> Iterator[tuple[Sequence[int], Sequence[Fit]]]:
    """Each way to keep the policies: among which slots, and how."""
    sockets = dict(shape.sockets)
    for among in _together(request, shape):
        places = [shape.slots[index].place for index in among]
        for fits in affinity.ways(request, places, sockets):
            yield among, fits


def _together(request: Request, shape: Shape) -> Iterator[Sequence[int]]:
    """The slots whose units may go together: each such set of them.

    Below one switch all may; one whose switch is not known goes alone.
    """
    if not request.same_switch:
        yield range(len(shape.slots))
        return
    below: dict[int, list[int]] = {}
    alone: dict[Slot, int] = {}
    for index, slot in enumerate(shape.slots):
        if slot.switch is None:
            alone.setdefault(slot, index)
        else:
            below.setdefault(slot.switch, []).append(index)
    yield from below.values()
    yield from ((index,) for index in alone.values())


def _without_supersets(ranked: Sequence[Found]) -> list[Found]:
    """What is minimal under every way to keep the policies.

    A subset costs less, so that it stands before.
    """
    kept: list[Found] = []
    for found in ranked:
        if not any(set(k.slots) < set(found.slots) for k in kept):
            kept.append(found)
    return kept


class _Search:
    """A request on one host, under one way to keep the policies."""

    def __init__(
        self,
        request: Request,
        shape: Shape,
        among: Sequence[int],
        fits: Sequence[Fit],
        limit: int,
    ) -> None:
        self._shape = shape
        self._limit = limit
        self._tariff = Tariff(request, shape)
        self._counts = tuple(item.count for item in request.items)
        self._kinds, self._tree = groups(shape, among, fits)
        self._met: dict[Supply, int] = {}

    def run(self) -> list[Found]:
        """Up to ``limit`` sets that are minimal under this way."""
        nothing = (0,) * len(self._kinds)
        empty = _State(nothing, frozenset(), False, False)
        states: _Best = {empty: [self._tariff.start()]}
        for switches in self._tree.values():
            for group in itertools.chain.from_iterable(
                (*found, None) for found in switches.values()
            ):
                if group is None:
                    states = self._left(states, is_node_left=False)
                else:
                    states = self._grown(states, group)
            states = self._left(states, is_node_left=True)
        whole = [sums for s, sums in states.items() if self._is_minimal(s)]
        best = heapq.nsmallest(self._limit, itertools.chain(*whole))
        return [self._tariff.found(total) for total in best]

    def _grown(self, states: _Best, group: Group) -> _Best:
        """The states with none, one, two … units of a group added."""
        slot = self._shape.slots[group.slots[0]]
        node = self._tariff.node(slot.place.node)
        switch = self._tariff.switch(slot)
        grown = {state: list(sums) for state, sums in states.items()}
        for state, sums in states.items():
            touch = 0 if state.on_node else node
            touch += 0 if state.on_switch else switch
            for new, cost in self._steps(state, group):
                total = touch + cost
                grown.setdefault(new, []).extend(s + total for s in sums)
        return self._cut(grown)

    def _steps(
        self, state: _State, group: Group
    ) -> Iterator[tuple[_State, int]]:
        """Each number of units that is of use, and what they cost.

        A unit with which no more is satisfied than without could be left
        out, whatever is added later.
        """
        supply, cost = state.supply, 0
        met = self._satisfied(supply)
        profiles = state.profiles | {group.supply}
        for index in group.slots:
            supply = tuple(map(operator.add, supply, group.supply))
            before, met = met, self._satisfied(supply)
            if met == before:
                return
            cost += self._tariff.unit(index)
            yield _State(supply, profiles, True, True), cost

    def _left(self, states: _Best, *, is_node_left: bool) -> _Best:
        """The states once a switch, and maybe its node, lies behind."""
        left: _Best = {}
        for state, sums in states.items():
            on_node = state.on_node and not is_node_left
            new = state._replace(on_node=on_node, on_switch=False)
            left.setdefault(new, []).extend(sums)
        return self._cut(left)

    def _cut(self, states: _Best) -> _Best:
        return {
            state: heapq.nsmallest(self._limit, sums)
            for state, sums in states.items()
        }

    def _is_minimal(self, state: _State) -> bool:
        """Whether it satisfies the request, and nothing less of it does."""
        wanted = sum(self._counts)
        return self._satisfied(state.supply) == wanted and all(
            self._satisfied(tuple(map(operator.sub, state.supply, profile)))
            < wanted
            for profile in state.profiles
        )

    def _satisfied(self, supply: Supply) -> int:
        met = self._met.get(supply)
        if met is None:
            met = satisfied(self._kinds, supply, self._counts)
            self._met[supply] = met
        return met


def groups(
    shape: Shape, among: Iterable[int], fits: Sequence[Fit]
) -> tuple[list[Kind], Tree]:
    """The kinds of primaries, and the groups; units of no use left out.

    :param among: positions of the slots to choose among, ascending.
    :param fits: a predicate for each of the request's items.
    """
    usable = {index: _usable(shape.slots[index], fits) for index in among}
    kinds = sorted({k for found in usable.values() for k in found}, key=sorted)
    alike: dict[tuple[Supply, Slot], list[int]] = {}
    for index, found in usable.items():
        if found:
            supply = tuple(found.count(kind) for kind in kinds)
            alike.setdefault((supply, shape.slots[index]), []).append(index)
    tree: dict[int | None, dict[int | None, list[Group]]] = {}
    for (supply, slot), slots in alike.items():
        switches = tree.setdefault(slot.place.node, {})
        switches.setdefault(slot.switch, []).append(
            Group(supply, tuple(slots))
        )
    return kinds, tree


def _usable(slot: Slot, fits: Sequence[Fit]) -> list[Kind]:
    """The kinds of a unit's primaries, where the policies let them count."""
    kinds = (
        frozenset(i for i in kind if fits[i](slot.place))
        for kind in slot.matches
    )
    return [kind for kind in kinds if kind]


def satisfied(
    kinds: Sequence[Kind], supply: Sequence[int], counts: Sequence[int]
) -> int:
    """How many of the ``counts`` can be met at once; their sum at best.

    A primary counts for one item only: a bipartite matching, found by
    augmenting paths.

    :param supply: how many primaries there are of each kind.
    :param counts: how many each item asks for.
    """
    left = list(supply)
    given = [[0] * len(counts) for _ in kinds]
    met = 0
    for item, count in enumerate(counts):
        for _ in range(count):
            if not _augment(item, kinds, left, given, set()):
                break
            met += 1
    return met


def _augment(
    item: int,
    kinds: Sequence[Kind],
    left: list[int],
    given: list[list[int]],
    seen: set[int],
) -> bool:
    """Whether ``item`` got one more, if need be from one that has a choice."""
    for index, kind in enumerate(kinds):
        if item not in kind or index in seen:
            continue
        seen.add(index)
        if left[index]:
            left[index] -= 1
            given[index][item] += 1
            return True
        for other in kind:
            if given[index][other] and _augment(
                other, kinds, left, given, seen
            ):
                given[index][other] -= 1
                given[index][item] += 1
                return True
    return False

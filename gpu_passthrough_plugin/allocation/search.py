"""Which sets of one host's free units satisfy a request at the least cost.

Units that are interchangeable are one group, of which only the number
matters.  Groups are visited node by node and switch by switch, so that
touching either is paid for once.  Partial sets that have the same future
are one state, of which the cheapest few are kept (dynamic programming);
since costs add up (``allocation.cost``), that loses nothing.
"""

from __future__ import annotations

import heapq
import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.allocation import affinity
from gpu_passthrough_plugin.allocation.affinity import LocationRule
from gpu_passthrough_plugin.allocation.cost import CostModel, RankedSet
from gpu_passthrough_plugin.allocation.host_signature import (
    HostSignature,
    ItemSet,
    UnitSignature,
)
from gpu_passthrough_plugin.model.request import Request

Supply = tuple[int, ...]
"""How many primaries there are of each item set."""


class UnitGroup(NamedTuple):
    """Units alike in matches, primaries, NUMA node and switch.

    :param supply: what each of them supplies.
    :param indexes: their positions in the host's signature, ascending.
    """

    supply: Supply
    indexes: tuple[int, ...]


GroupTree = Mapping[int | None, Mapping[int | None, Sequence[UnitGroup]]]
"""Groups by NUMA node and switch."""


class _State(NamedTuple):
    """What decides the future of a partial set.

    :param profiles: what each of its units supplies, repeats left out.
    :param on_node: whether it has a unit on the node that is visited.
    :param on_switch: whether it has one on the switch that is visited.
    """

    supply: Supply
    profiles: frozenset[Supply]
    on_node: bool
    on_switch: bool


_Best = dict[_State, list[int]]
"""The least costs of each state, ascending."""


def search(
    request: Request, signature: HostSignature, limit: int
) -> tuple[RankedSet, ...]:
    """Return up to ``limit`` minimal sets of a host's units, best first."""
    ways = list(_ways(request, signature))
    every: set[RankedSet] = set()
    for among, rules in ways:
        every.update(_Search(request, signature, among, rules, limit).run())
    ranked = sorted(every, key=lambda entry: (entry.cost, entry.indexes))
    if len(ways) > 1:
        ranked = _without_supersets(ranked)
    return tuple(ranked[:limit])


def _ways(
    request: Request, signature: HostSignature
) -> Iterator[tuple[Sequence[int], Sequence[LocationRule]]]:
    """Yield each way to keep the policies: among which units, and how."""
    sockets = dict(signature.sockets)
    for among in _together(request, signature):
        locations = [signature.units[index].location for index in among]
        for rules in affinity.rule_sets(request, locations, sockets):
            yield among, rules


def _together(
    request: Request, signature: HostSignature
) -> Iterator[Sequence[int]]:
    """Yield the positions of units that may go together, set by set.

    If they have to be on one switch: those of each switch, and each unit
    alone whose switch is not known.
    """
    if not request.same_switch:
        yield range(len(signature.units))
        return
    below: dict[int, list[int]] = {}
    alone: dict[UnitSignature, int] = {}
    for index, unit in enumerate(signature.units):
        if unit.switch is None:
            alone.setdefault(unit, index)
        else:
            below.setdefault(unit.switch, []).append(index)
    yield from below.values()
    yield from ((index,) for index in alone.values())


def _without_supersets(ranked: Sequence[RankedSet]) -> list[RankedSet]:
    """Return the sets that are minimal under every way to keep the policies.

    A subset costs less, so that it comes first.
    """
    minimal: list[RankedSet] = []
    for entry in ranked:
        if not any(set(m.indexes) < set(entry.indexes) for m in minimal):
            minimal.append(entry)
    return minimal


class _Search:
    """A request on one host, under one way to keep the policies."""

    def __init__(
        self,
        request: Request,
        signature: HostSignature,
        among: Sequence[int],
        rules: Sequence[LocationRule],
        limit: int,
    ) -> None:
        self._signature = signature
        self._limit = limit
        self._costs = CostModel(request, signature)
        self._counts = tuple(item.count for item in request.items)
        self._item_sets, self._tree = group_units(signature, among, rules)
        self._satisfied_by: dict[Supply, int] = {}

    def run(self) -> list[RankedSet]:
        """Return up to ``limit`` sets that are minimal under this way."""
        nothing = (0,) * len(self._item_sets)
        empty = _State(nothing, frozenset(), False, False)
        states: _Best = {empty: [self._costs.empty_set()]}
        for switches in self._tree.values():
            for groups in switches.values():
                for group in groups:
                    states = self._extended(states, group)
                states = self._left(states, is_node_left=False)
            states = self._left(states, is_node_left=True)
        whole = [sums for s, sums in states.items() if self._is_minimal(s)]
        best = heapq.nsmallest(self._limit, itertools.chain(*whole))
        return [self._costs.ranked_set(total) for total in best]

    def _extended(self, states: _Best, group: UnitGroup) -> _Best:
        """Return the states with none, one, two … units of a group added."""
        unit = self._signature.units[group.indexes[0]]
        node = self._costs.first_on_node(unit.location.node)
        switch = self._costs.first_on_switch(unit)
        extended = {state: list(sums) for state, sums in states.items()}
        for state, sums in states.items():
            touch = 0 if state.on_node else node
            touch += 0 if state.on_switch else switch
            for new, cost in self._steps(state, group):
                total = touch + cost
                extended.setdefault(new, []).extend(s + total for s in sums)
        return self._cheapest(extended)

    def _steps(
        self, state: _State, group: UnitGroup
    ) -> Iterator[tuple[_State, int]]:
        """Yield each useful number of units of a group, and their cost.

        A unit that satisfies no more than without it could be left out,
        whatever is added later.
        """
        supply, cost = state.supply, 0
        count = self._satisfied(supply)
        profiles = state.profiles | {group.supply}
        for index in group.indexes:
            supply = tuple(map(operator.add, supply, group.supply))
            before, count = count, self._satisfied(supply)
            if count == before:
                return
            cost += self._costs.unit(index)
            yield _State(supply, profiles, True, True), cost

    def _left(self, states: _Best, *, is_node_left: bool) -> _Best:
        """Return the states after a switch, and maybe its node, is done."""
        left: _Best = {}
        for state, sums in states.items():
            on_node = state.on_node and not is_node_left
            new = state._replace(on_node=on_node, on_switch=False)
            left.setdefault(new, []).extend(sums)
        return self._cheapest(left)

    def _cheapest(self, states: _Best) -> _Best:
        return {
            state: heapq.nsmallest(self._limit, sums)
            for state, sums in states.items()
        }

    def _is_minimal(self, state: _State) -> bool:
        """Return whether a set satisfies the request, and no subset does."""
        requested = sum(self._counts)
        return self._satisfied(state.supply) == requested and all(
            self._satisfied(tuple(map(operator.sub, state.supply, profile)))
            < requested
            for profile in state.profiles
        )

    def _satisfied(self, supply: Supply) -> int:
        count = self._satisfied_by.get(supply)
        if count is None:
            count = satisfied(self._item_sets, supply, self._counts)
            self._satisfied_by[supply] = count
        return count


def group_units(
    signature: HostSignature,
    among: Iterable[int],
    rules: Sequence[LocationRule],
) -> tuple[list[ItemSet], GroupTree]:
    """Return the item sets of usable primaries, and the groups of units.

    Units of no use are left out.

    :param among: positions of the units to choose among, ascending.
    :param rules: a rule for each of the request's items.
    """
    usable = {index: _usable(signature.units[index], rules) for index in among}
    item_sets = sorted(
        {items for matches in usable.values() for items in matches},
        key=sorted,
    )
    alike: dict[tuple[Supply, UnitSignature], list[int]] = {}
    for index, matches in usable.items():
        if matches:
            supply = tuple(matches.count(items) for items in item_sets)
            key = (supply, signature.units[index])
            alike.setdefault(key, []).append(index)
    tree: dict[int | None, dict[int | None, list[UnitGroup]]] = {}
    for (supply, unit), indexes in alike.items():
        switches = tree.setdefault(unit.location.node, {})
        switches.setdefault(unit.switch, []).append(
            UnitGroup(supply, tuple(indexes))
        )
    return item_sets, tree


def _usable(
    unit: UnitSignature, rules: Sequence[LocationRule]
) -> list[ItemSet]:
    """Return the item sets of a unit's primaries that the rules allow."""
    allowed = (
        frozenset(i for i in items if rules[i](unit.location))
        for items in unit.matches
    )
    return [items for items in allowed if items]


def satisfied(
    item_sets: Sequence[ItemSet],
    supply: Sequence[int],
    counts: Sequence[int],
) -> int:
    """Return how many of the ``counts`` can be met at once.

    A primary counts for one item only: a bipartite matching, found by
    augmenting paths.

    :param supply: how many primaries there are of each item set.
    :param counts: how many each item asks for.
    """
    left = list(supply)
    given = [[0] * len(counts) for _ in item_sets]
    met = 0
    for item, count in enumerate(counts):
        for _ in range(count):
            if not _augment(item, item_sets, left, given, set()):
                break
            met += 1
    return met


def _augment(
    item: int,
    item_sets: Sequence[ItemSet],
    left: list[int],
    given: list[list[int]],
    seen: set[int],
) -> bool:
    """Give ``item`` one more primary; return whether that was possible.

    If none is left, one is taken from an item that can use another.
    """
    for index, items in enumerate(item_sets):
        if item not in items or index in seen:
            continue
        seen.add(index)
        if left[index]:
            left[index] -= 1
            given[index][item] += 1
            return True
        for other in items:
            if given[index][other] and _augment(
                other, item_sets, left, given, seen
            ):
                given[index][other] -= 1
                given[index][item] += 1
                return True
    return False

"""Laws of the choice, against a search that tries every set of units."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation import choice
from gpu_passthrough_plugin.model.request import Item, NumaPolicy, Request
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction
from tests.unit.allocation.build import ALIASES, GPU, NIC, free, unit

Set = tuple[Unit, ...]
SOCKETS = {0: 0, 1: 0, 2: 1}


@st.composite
def hosts(draw: st.DrawFn) -> list[Unit]:
    """Up to five units of one host, of one or two cards each."""
    knows_sockets = draw(st.booleans())
    units = []
    for bus in range(1, draw(st.integers(1, 5)) + 1):
        node = draw(st.sampled_from([None, 0, 1, 2]))
        cards = draw(
            st.lists(st.sampled_from([GPU, NIC]), min_size=1, max_size=2)
        )
        units.append(
            unit(
                bus,
                *cards,
                node=node,
                socket=SOCKETS.get(node)
                if knows_sockets and node is not None
                else None,
                switch=draw(st.sampled_from([None, 1, 2])),
                traits=draw(st.sampled_from(["", "", "GOLD", "LOUD GOLD"])),
            )
        )
    return units


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """One to three aliases, tied to NUMA nodes or not, below one switch
    or anywhere, without a trait or with any."""
    names = draw(
        st.lists(
            st.sampled_from(sorted(ALIASES)),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    return Request(
        tuple(Item(ALIASES[n], draw(st.integers(1, 3))) for n in names),
        draw(
            st.none() | st.frozensets(st.sampled_from([0, 1, 2]), min_size=1)
        ),
        same_switch=draw(st.booleans()),
        forbidden_traits=draw(
            st.sampled_from([frozenset(), frozenset({"CUSTOM_LOUD"})])
        ),
    )


def fits(item: Item, of: Unit, card: UnitFunction) -> bool:
    return item.alias.matches(card, of.traits)


def may_go_together(request: Request, units: Set) -> bool:
    """What a request asks of the units, whatever they are for."""
    if any(u.traits & request.forbidden_traits for u in units):
        return False
    if not request.same_switch or len(units) == 1:
        return True
    places = {(u.numa_node, u.switch) for u in units}
    return len(places) == 1 and units[0].switch is not None


def sharings(request: Request, units: Set) -> Iterator[list[list[Unit]]]:
    """Each way to share primaries out: for each item, their units."""
    cards = [(u, f) for u in units for f in u.primaries]

    def rest(
        items: Sequence[Item], left: list[int]
    ) -> Iterator[list[list[Unit]]]:
        if not items:
            yield []
            return
        fit = [i for i in left if fits(items[0], *cards[i])]
        for taken in itertools.combinations(fit, items[0].count):
            other = [i for i in left if i not in taken]
            for following in rest(items[1:], other):
                yield [[cards[i][0] for i in taken], *following]

    yield from rest(request.items, list(range(len(cards))))


def keeps_policies(
    request: Request, sharing: list[list[Unit]], sockets: dict[int, int]
) -> bool:
    if request.numa_nodes is not None:
        near = {sockets[n] for n in request.numa_nodes if n in sockets}
        return all(
            is_near(item, u, request.numa_nodes, near)
            for item, units in zip(request.items, sharing, strict=True)
            for u in units
        )
    nodes: set[int | None] = set()
    required = 0
    for item, units in zip(request.items, sharing, strict=True):
        policy = item.alias.numa_policy
        if policy is NumaPolicy.REQUIRED:
            nodes |= {u.numa_node for u in units}
            required += item.count
        elif policy is NumaPolicy.SOCKET and item.count > 1:
            sockets_of = {u.socket for u in units}
            if None in sockets_of or len(sockets_of) > 1:
                return False
    return required <= 1 or (None not in nodes and len(nodes) <= 1)


def is_near(
    item: Item, some: Unit, nodes: frozenset[int], sockets: set[int]
) -> bool:
    policy = item.alias.numa_policy
    if some.numa_node in nodes or policy is NumaPolicy.PREFERRED:
        return True
    if policy is NumaPolicy.LEGACY:
        return some.numa_node is None
    return policy is NumaPolicy.SOCKET and some.socket in sockets


def minimal_sets(
    request: Request, units: list[Unit], sockets: dict[int, int]
) -> list[Set]:
    """Every set that satisfies the request, and no part of it does."""
    minimal: list[Set] = []
    for size in range(1, len(units) + 1):
        for some in itertools.combinations(units, size):
            if any(set(small) <= set(some) for small in minimal):
                continue
            if may_go_together(request, some) and any(
                keeps_policies(request, sharing, sockets)
                for sharing in sharings(request, some)
            ):
                minimal.append(some)
    return minimal


def cost(
    request: Request,
    some: Set,
    units: list[Unit],
    taken: list[Unit],
    sockets: dict[int, int],
) -> int:
    """The score, counted as ``choice`` documents it."""
    tied = request.numa_nodes
    if tied is None:
        distance = len({u.numa_node for u in some}) - 1
    else:
        near = {sockets[n] for n in tied if n in sockets}
        distance = sum(
            0
            if u.numa_node in tied
            else 1
            if u.numa_node is None or u.socket in near
            else 2
            for u in some
        )
    left = [u for u in units if u not in some]
    nodes = {u.numa_node for u in some} - {None}
    switches = {(u.numa_node, u.switch) for u in some if u.switch}
    parts = [
        distance,
        sum(len(u.primaries) for u in some)
        - sum(item.count for item in request.items),
        len(some) - 1,
        len(nodes - {u.numa_node for u in taken}),
        len(switches - {(u.numa_node, u.switch) for u in taken}),
        sum(u.numa_node in nodes for u in left),
        sum((u.numa_node, u.switch) in switches for u in left),
    ]
    return sum(part * 100**i for i, part in enumerate(reversed(parts)))


@settings(max_examples=300)
@given(requests(), hosts(), st.data())
def test_the_choice_is_the_best_of_every_set(
    request: Request, host: list[Unit], data: st.DataObject
) -> None:
    taken = data.draw(st.lists(st.sampled_from(host), unique=True))
    units = [u for u in host if u not in taken]
    sockets = {
        u.numa_node: u.socket
        for u in host
        if u.numa_node is not None and u.socket is not None
    }
    every = minimal_sets(request, units, sockets)
    costs = {
        some: cost(request, some, units, taken, sockets) for some in every
    }
    candidates = choice.candidates(request, free(units), taken, limit=100)
    sets = [tuple(f.unit for f in candidate.units) for candidate in candidates]
    # Each is of free units, satisfies, and has none that could go.
    assert len(set(sets)) == len(sets)
    assert set(sets) <= set(every)
    # Its score is what the documentation says, and they stand by it.
    assert [candidate.score for candidate in candidates] == [
        costs[some] for some in sets
    ]
    assert sorted(costs[some] for some in sets) == [
        costs[some] for some in sets
    ]
    # What is not there differs from what is by interchangeable units only.
    assert set(costs.values()) == {costs[some] for some in sets}
    # The first few are the same when only those are asked for.
    few = choice.candidates(request, free(units), taken, limit=2)
    assert few == candidates[:2]


@given(requests(), hosts(), st.randoms())
def test_the_order_of_the_units_does_not_matter(
    request: Request, host: list[Unit], chance: random.Random
) -> None:
    shuffled = list(host)
    chance.shuffle(shuffled)
    assert choice.candidates(
        request, free(shuffled), limit=5
    ) == choice.candidates(request, free(host), limit=5)

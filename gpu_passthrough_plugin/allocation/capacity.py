"""What a host's free units supply, in numbers that an index can order.

For each identity of a primary, how many the free units have on each NUMA
node, on none, on the best of these, and altogether.  The numbers tell
which hosts *may* have what a request asks for; whether one does is for
``allocation.choice`` to find.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.request import (
    Alias,
    NumaPolicy,
    Request,
)
from gpu_passthrough_plugin.model.unit import DeviceType, Unit


class Place(enum.IntEnum):
    """Where, if not on the NUMA node of that number."""

    ANYWHERE = -3
    ONE_NODE = -2
    NO_NODE = -1


class Card(NamedTuple):
    """What a primary is, as far as an alias asks."""

    vendor_id: int
    product_id: int
    device_type: DeviceType


Supply = Mapping[tuple[Card, int], int]
"""How many primaries there are of a card in a place."""


def cards(units: Iterable[Unit]) -> frozenset[Card]:
    """What the primaries of units are."""
    return frozenset(card for unit in units for card in _cards(unit))


def count(free: Iterable[Unit], of: Iterable[Unit] = ()) -> Supply:
    """What free units supply.

    :param of: units whose cards and places are to be counted even where
        none is free.
    """
    counts: dict[Card, dict[int, int]] = {}
    for units, one in ((of, 0), (free, 1)):
        for unit in units:
            node = unit.numa_node
            place = Place.NO_NODE.value if node is None else node
            for card in _cards(unit):
                places = counts.setdefault(card, {})
                places[place] = places.get(place, 0) + one
    found: dict[tuple[Card, int], int] = {}
    for card, places in counts.items():
        for place, number in places.items():
            found[card, place] = number
        found[card, Place.ANYWHERE.value] = sum(places.values())
        found[card, Place.ONE_NODE.value] = max(places.values())
    return found


def _cards(unit: Unit) -> Iterator[Card]:
    for function in unit.functions:
        if function.is_primary:
            yield Card(
                function.vendor_id, function.product_id, function.device_type
            )


class Need(NamedTuple):
    """What a host has at least, in one place, where a request may fit."""

    place: int
    number: int


class Wanted(NamedTuple):
    """A request as the numbers see it.

    :param cards: what satisfies its main item: the one that the fewest
        cards satisfy, and of these the one that asks for most.
    :param needs: of the main item, by preference: every host that has
        what is asked for is under the last of them, or the last few.
    :param others: of every other item, its cards and how many.
    """

    cards: tuple[Card, ...]
    needs: tuple[Need, ...]
    others: tuple[tuple[tuple[Card, ...], int], ...]


def wanted(request: Request, known: Iterable[Card]) -> Wanted | None:
    """What to look for; None when no known card satisfies some item.

    :param known: every card that some host has.
    """
    known = sorted(known)
    of = [
        (tuple(c for c in known if _satisfies(item.alias, c)), item)
        for item in request.items
    ]
    if not all(found for found, _ in of):
        return None
    main = min(range(len(of)), key=lambda i: (len(of[i][0]), -of[i][1].count))
    found, item = of[main]
    return Wanted(
        cards=found,
        needs=tuple(_needs(request, item.alias.numa_policy, item.count)),
        others=tuple(
            (cards, other.count)
            for index, (cards, other) in enumerate(of)
            if index != main
        ),
    )


def _satisfies(alias: Alias, card: Card) -> bool:
    """Whether a primary like this may count; traits are a unit's."""
    name = f"CUSTOM_PCI_{card.vendor_id:04X}_{card.product_id:04X}"
    return any(
        spec.vendor_id in (None, card.vendor_id)
        and spec.product_id in (None, card.product_id)
        and spec.device_type is card.device_type
        and spec.resource_class in (None, name)
        for spec in alias.specs
    )


def _needs(
    request: Request, policy: NumaPolicy, number: int
) -> Iterator[Need]:
    """Where to look, the best places first."""
    nodes = sorted(request.numa_nodes or ())
    if not nodes:
        if number > 1:
            yield Need(Place.ONE_NODE, number)
        # Several that share a node are on it, known or not.
        if number == 1 or policy is not NumaPolicy.REQUIRED:
            yield Need(Place.ANYWHERE, number)
        return
    yield from (Need(node, number) for node in nodes)
    places = list(nodes)
    if policy is NumaPolicy.LEGACY:
        places.append(Place.NO_NODE)
    if policy in (NumaPolicy.PREFERRED, NumaPolicy.SOCKET):
        yield Need(Place.ANYWHERE, number)
        return
    # Of so many in so many places, one place has its share.
    share = -(-number // len(places))
    for place in places:
        if share < number or place is Place.NO_NODE:
            yield Need(place, share)

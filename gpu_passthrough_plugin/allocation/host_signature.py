"""A host as the choice sees it: what matters of its units, and no more.

Two hosts of one shape have the same answers, so that a fleet of equal
hosts is searched once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import Place
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
)

Kind = frozenset[int]
"""The positions of a request's items that one primary could count for."""


class Slot(NamedTuple):
    """One free unit.

    :param matches: the kind of each primary that some alias matches.
    :param switch: numbered within the host; None when not known.  One
        whose units are said to be on two nodes counts as two.
    """

    matches: tuple[Kind, ...]
    primaries: int
    place: Place
    switch: int | None


class Shape(NamedTuple):
    """A host's free units by address, and what is broken already.

    :param sockets: (NUMA node, CPU socket), sorted.
    """

    slots: tuple[Slot, ...]
    broken_nodes: frozenset[int]
    broken_switches: frozenset[int]
    sockets: tuple[tuple[int, int], ...]


Identity = tuple[int, int, DeviceType, frozenset[str]]


class Matcher:
    """The kinds of primaries, each distinct card looked at once."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._kinds: dict[Identity, Kind] = {}

    def kind(self, function: UnitFunction, traits: frozenset[str]) -> Kind:
        """The items that a primary could count for; maybe none.

        :param traits: of its unit.
        """
        key = (
            function.vendor_id,
            function.product_id,
            function.device_type,
            traits,
        )
        found = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = self._kind(function, traits)
        return found

    def _kind(self, function: UnitFunction, traits: frozenset[str]) -> Kind:
        if traits & self._request.forbidden_traits:
            return frozenset()
        return frozenset(
            index
            for index, item in enumerate(self._request.items)
            if item.alias.matches(function, traits)
        )


def shape(
    free: Iterable[Unit], taken: Iterable[Unit], matcher: Matcher
) -> Shape:
    """The shape of one host.

    :param free: by address.
    :param taken: its other units, which break nodes and switches.
    """
    numbers: dict[tuple[int | None, Address], int] = {}
    sockets: dict[int, int] = {}
    slots = tuple([_slot(u, numbers, sockets, matcher) for u in free])
    nodes, switches = set(), set()
    for unit in taken:
        node, switch = unit.numa_node, unit.switch
        if node is not None:
            nodes.add(node)
            if unit.socket is not None:
                sockets[node] = unit.socket
        if switch is not None and (node, switch) in numbers:
            switches.add(numbers[node, switch])
    return Shape(
        slots,
        frozenset(nodes),
        frozenset(switches),
        tuple(sorted(sockets.items())),
    )


def _slot(
    unit: Unit,
    numbers: dict[tuple[int | None, Address], int],
    sockets: dict[int, int],
    matcher: Matcher,
) -> Slot:
    """A unit's slot; its switch and its node's socket are noted."""
    node, socket, switch = unit.numa_node, unit.socket, unit.switch
    if node is not None and socket is not None:
        sockets[node] = socket
    number = None
    if switch is not None:
        number = numbers.setdefault((node, switch), len(numbers))
    traits = unit.traits
    kinds = [matcher.kind(f, traits) for f in unit.functions if f.is_primary]
    return Slot(
        tuple([kind for kind in kinds if kind]),
        len(kinds),
        Place(node, socket),
        number,
    )

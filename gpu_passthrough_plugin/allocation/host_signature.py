"""What of a host's units decides which of them a request gets.

Two hosts of one signature get the same answers, so that a fleet of equal
hosts is searched once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import NumaLocation
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
)

ItemSet = frozenset[int]
"""The positions of a request's items that one primary could count for."""


class UnitSignature(NamedTuple):
    """What of one free unit decides whether it is chosen.

    :param matches: the item set of each primary that some alias matches.
    :param primaries: how many there are, matching or not.
    :param switch: numbered within the host; None when not known.  A switch
        whose units report two NUMA nodes counts as two switches.
    """

    matches: tuple[ItemSet, ...]
    primaries: int
    location: NumaLocation
    switch: int | None


class HostSignature(NamedTuple):
    """A host's free units by address, and what other units broke already.

    :param broken_nodes: NUMA nodes with a unit that is not free.
    :param broken_switches: PCIe switches with a unit that is not free.
    :param sockets: (NUMA node, CPU socket), sorted.
    """

    units: tuple[UnitSignature, ...]
    broken_nodes: frozenset[int]
    broken_switches: frozenset[int]
    sockets: tuple[tuple[int, int], ...]


_Identity = tuple[int, int, DeviceType, frozenset[str]]


class Matcher:
    """Which items a primary could count for; each identity matched once."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._item_sets: dict[_Identity, ItemSet] = {}

    def item_set(
        self, function: UnitFunction, traits: frozenset[str]
    ) -> ItemSet:
        """Return the items that a primary could count for; maybe none.

        :param traits: of its unit.
        """
        key = (
            function.vendor_id,
            function.product_id,
            function.device_type,
            traits,
        )
        items = self._item_sets.get(key)
        if items is None:
            items = self._item_sets[key] = self._matched(function, traits)
        return items

    def _matched(
        self, function: UnitFunction, traits: frozenset[str]
    ) -> ItemSet:
        if traits & self._request.forbidden_traits:
            return frozenset()
        return frozenset(
            index
            for index, item in enumerate(self._request.items)
            if item.alias.matches(function, traits)
        )


def signature(
    free: Iterable[Unit], taken: Iterable[Unit], matcher: Matcher
) -> HostSignature:
    """Return the signature of one host.

    :param free: by address.
    :param taken: its other units, which break nodes and switches.
    """
    numbers: dict[tuple[int | None, Address], int] = {}
    sockets: dict[int, int] = {}
    units = tuple([_unit(u, numbers, sockets, matcher) for u in free])
    nodes, switches = set(), set()
    for unit in taken:
        node, switch = unit.numa_node, unit.switch
        if node is not None:
            nodes.add(node)
            if unit.socket is not None:
                sockets[node] = unit.socket
        if switch is not None and (node, switch) in numbers:
            switches.add(numbers[node, switch])
    return HostSignature(
        units,
        frozenset(nodes),
        frozenset(switches),
        tuple(sorted(sockets.items())),
    )


def _unit(
    unit: Unit,
    numbers: dict[tuple[int | None, Address], int],
    sockets: dict[int, int],
    matcher: Matcher,
) -> UnitSignature:
    """Return a unit's signature; add its switch and its node's socket."""
    node, socket, switch = unit.numa_node, unit.socket, unit.switch
    if node is not None and socket is not None:
        sockets[node] = socket
    number = None
    if switch is not None:
        number = numbers.setdefault((node, switch), len(numbers))
    traits = unit.traits
    item_sets = [
        matcher.item_set(f, traits) for f in unit.functions if f.is_primary
    ]
    return UnitSignature(
        tuple([items for items in item_sets if items]),
        len(item_sets),
        NumaLocation(node, socket),
        number,
    )

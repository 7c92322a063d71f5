"""A host as the choice sees it: what matters of its units, and no more.

Two hosts of one shape have the same answers, so that a fleet of equal
hosts is searched once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import Place
from gpu_passthrough_plugin.allocation.matching import Kind
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
)


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


Identity = tuple[int, int, DeviceType]


class Matcher:
    """The kinds of primaries, each distinct card looked at once."""

    def __init__(self, request: Request) -> None:
        self._items = request.items
        self._kinds: dict[Identity, Kind] = {}

    def kind(self, function: UnitFunction) -> Kind:
        """The items that a primary could count for; maybe none."""
        key = (
            function.vendor_id,
            function.product_id,
            function.device_type,
        )
        found = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = frozenset(
                index
                for index, item in enumerate(self._items)
                if item.alias.matches(function)
            )
        return found


def shape(
    free: Sequence[Unit], taken: Iterable[Unit], matcher: Matcher
) -> Shape:
    """The shape of one host.

    :param free: by address.
    :param taken: its other units, which break nodes and switches.
    """
    taken = tuple(taken)
    numbers: dict[tuple[object, ...], int] = {}
    slots = tuple(_slot(unit, numbers, matcher) for unit in free)
    return Shape(
        slots,
        frozenset(u.numa_node for u in taken if u.numa_node is not None),
        frozenset(
            numbers[u.numa_node, u.switch]
            for u in taken
            if (u.numa_node, u.switch) in numbers
        ),
        tuple(sorted(_sockets((*free, *taken)).items())),
    )


def _slot(
    unit: Unit, numbers: dict[tuple[object, ...], int], matcher: Matcher
) -> Slot:
    primaries = unit.primaries
    kinds = (matcher.kind(function) for function in primaries)
    switch = None
    if unit.switch is not None:
        switch = numbers.setdefault(
            (unit.numa_node, unit.switch), len(numbers)
        )
    return Slot(
        tuple(kind for kind in kinds if kind),
        len(primaries),
        Place(unit.numa_node, unit.socket),
        switch,
    )


def _sockets(units: Iterable[Unit]) -> Mapping[int, int]:
    return {
        unit.numa_node: unit.socket
        for unit in units
        if unit.numa_node is not None and unit.socket is not None
    }

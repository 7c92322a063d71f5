"""What units cost: the parts of ``choice``'s order, as integers that add.

A cost holds its parts in fixed fields, and below them one bit a unit,
negative, so that of two sets that are equal but for that the one with the
lower addresses is less.  Adding the same to two sums keeps their order.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import Place
from gpu_passthrough_plugin.allocation.host_signature import Shape, Slot
from gpu_passthrough_plugin.model.request import Request

# Wide enough that no sum over one host's units runs into the next field.
_FIELD_BITS = 24
_DIGITS = 100


class Cost(NamedTuple):
    """The parts of ``choice``'s order: of a unit, a touch or a whole set."""

    distance: int = 0
    waste: int = 0
    units: int = 0
    nodes: int = 0
    switches: int = 0
    node_rest: int = 0
    switch_rest: int = 0


class Found(NamedTuple):
    """One set: what it costs, and the positions of its slots, ascending.

    :param score: the cost in two decimal digits a part, 99 at most.
    """

    cost: Cost
    slots: tuple[int, ...]
    score: int


class Tariff:
    """What each unit of a host costs, and each node and switch touched."""

    def __init__(self, request: Request, shape: Shape) -> None:
        self._shape = shape
        self._nodes = request.numa_nodes
        self._wanted = sum(item.count for item in request.items)
        sockets = dict(shape.sockets)
        self._near = {sockets[n] for n in self._nodes or () if n in sockets}
        self._on_node = collections.Counter(
            slot.place.node for slot in shape.slots
        )
        self._on_switch = collections.Counter(
            slot.switch for slot in shape.slots
        )

    def start(self) -> int:
        """What a set of nothing costs: less than nothing in some parts."""
        distance = -1 if self._nodes is None else 0
        return self._packed(Cost(distance, waste=-self._wanted, units=-1))

    def unit(self, index: int) -> int:
        """One unit, its place among the addresses included."""
        slot = self._shape.slots[index]
        cost = Cost(
            distance=self._distance(slot.place),
            waste=slot.primaries,
            units=1,
            node_rest=0 if slot.place.node is None else -1,
            switch_rest=0 if slot.switch is None else -1,
        )
        return self._packed(cost) - (1 << self._size - 1 - index)

    def node(self, node: int | None) -> int:
        """The first unit on a node; no node is a place like any other."""
        distance = 1 if self._nodes is None else 0
        if node is None:
            return self._packed(Cost(distance))
        whole = node not in self._shape.broken_nodes
        rest = self._on_node[node]
        return self._packed(Cost(distance, nodes=whole, node_rest=rest))

    def switch(self, slot: Slot) -> int:
        """The first unit on a switch."""
        if slot.switch is None:
            return 0
        whole = slot.switch not in self._shape.broken_switches
        rest = self._on_switch[slot.switch]
        return self._packed(Cost(switches=whole, switch_rest=rest))

    def found(self, total: int) -> Found:
        """The set whose sum is ``total``."""
        bits = -total % (1 << self._size)
        fields = (total + bits) >> self._size
        parts = []
        for _ in Cost._fields:
            parts.append(fields % (1 << _FIELD_BITS))
            fields >>= _FIELD_BITS
        slots = tuple(
            i for i in range(self._size) if bits >> self._size - 1 - i & 1
        )
        cost = Cost(*reversed(parts))
        return Found(cost, slots, _score(cost))

    @property
    def _size(self) -> int:
        return len(self._shape.slots)

    def _distance(self, place: Place) -> int:
        if self._nodes is None or place.node in self._nodes:
            return 0
        return 1 if place.node is None or place.socket in self._near else 2

    def _packed(self, cost: Cost) -> int:
        fields = 0
        for part in cost:
            fields = (fields << _FIELD_BITS) + part
        return fields << self._size


def _score(cost: Cost) -> int:
    score = 0
    for part in cost:
        score = score * _DIGITS + min(part, _DIGITS - 1)
    return score

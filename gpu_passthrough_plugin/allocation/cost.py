"""What taking a unit costs: ``choice``'s order as sums of integers.

A cost is a tuple of parts in the order of their weight (``Cost``).  While
sets of units are searched, each cost is one integer: the parts in fixed
fields, and below them one bit a unit, negative, so that of two sets that
are equal but for that the one with the lower addresses is less.  Adding
the same to two sums keeps their order.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.affinity import NumaLocation
from gpu_passthrough_plugin.allocation.host_signature import (
    HostSignature,
    UnitSignature,
)
from gpu_passthrough_plugin.model.request import Request

# Wide enough that no sum over one host's units runs into the next field.
_FIELD_BITS = 24
_DIGITS = 100


class Cost(NamedTuple):
    """The parts of ``choice``'s order, of a unit, a touch or a whole set."""

    distance: int = 0
    waste: int = 0
    units: int = 0
    nodes: int = 0
    switches: int = 0
    node_rest: int = 0
    switch_rest: int = 0


class RankedSet(NamedTuple):
    """A set of one host's free units, and what it costs.

    :param indexes: positions of its units in the host's signature,
        ascending.
    :param score: the cost in two decimal digits a part, 99 at most.
    """

    cost: Cost
    indexes: tuple[int, ...]
    score: int


class CostModel:
    """What each unit of a host costs, and each node and switch touched."""

    def __init__(self, request: Request, signature: HostSignature) -> None:
        self._signature = signature
        self._nodes = request.numa_nodes
        self._requested = sum(item.count for item in request.items)
        sockets = dict(signature.sockets)
        self._near = {sockets[n] for n in self._nodes or () if n in sockets}
        self._on_node = collections.Counter(
            unit.location.node for unit in signature.units
        )
        self._on_switch = collections.Counter(
            unit.switch for unit in signature.units
        )

    def empty_set(self) -> int:
        """Return what no unit costs: less than 0 in parts that count extra."""
        distance = -1 if self._nodes is None else 0
        return self._packed(Cost(distance, waste=-self._requested, units=-1))

    def unit(self, index: int) -> int:
        """Return what one unit costs, its position included."""
        unit = self._signature.units[index]
        cost = Cost(
            distance=self._distance(unit.location),
            waste=unit.primaries,
            units=1,
            node_rest=0 if unit.location.node is None else -1,
            switch_rest=0 if unit.switch is None else -1,
        )
        return self._packed(cost) - (1 << self._size - 1 - index)

    def first_on_node(self, node: int | None) -> int:
        """Return what the first unit on a node costs in addition.

        Units without a node count as units of one more node.
        """
        distance = 1 if self._nodes is None else 0
        if node is None:
            return self._packed(Cost(distance))
        whole = node not in self._signature.broken_nodes
        rest = self._on_node[node]
        return self._packed(Cost(distance, nodes=whole, node_rest=rest))

    def first_on_switch(self, unit: UnitSignature) -> int:
        """Return what the first unit on a switch costs in addition."""
        if unit.switch is None:
            return 0
        whole = unit.switch not in self._signature.broken_switches
        rest = self._on_switch[unit.switch]
        return self._packed(Cost(switches=whole, switch_rest=rest))

    def ranked_set(self, total: int) -> RankedSet:
        """Return the set whose costs add up to ``total``."""
        bits = -total % (1 << self._size)
        fields = (total + bits) >> self._size
        parts = []
        for _ in Cost._fields:
            parts.append(fields % (1 << _FIELD_BITS))
            fields >>= _FIELD_BITS
        indexes = tuple(
            i for i in range(self._size) if bits >> self._size - 1 - i & 1
        )
        cost = Cost(*reversed(parts))
        return RankedSet(cost, indexes, _score(cost))

    @property
    def _size(self) -> int:
        return len(self._signature.units)

    def _distance(self, location: NumaLocation) -> int:
        if self._nodes is None or location.node in self._nodes:
            return 0
        is_near = location.node is None or location.socket in self._near
        return 1 if is_near else 2

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

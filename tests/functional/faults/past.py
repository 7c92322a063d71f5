"""What many clients' operations tell together of units: pure."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.functional.faults.history import (
    NEVER_NS,
    Act,
    Operation,
    Sight,
)

After = Callable[[int], tuple[int, ...]]


def by_one(generation: int) -> tuple[int, ...]:
    """What follows a generation where each step counts it on by one."""
    return (generation + 1,)


class Fact(NamedTuple):
    """A unit was seen so, by an operation that took so long."""

    sight: Sight
    by: Operation

    def __str__(self) -> str:
        unit, generation, state, consumer = self.sight
        return (
            f"{unit} {state} at {generation} with {consumer}"
            f" ({self.by.act} {self.by.name})"
        )


class History:
    """All operations, by what the rules ask of them.

    :param after: the generations that one step may take a unit to.
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        end: Operation,
        after: After = by_one,
    ) -> None:
        self.operations = tuple(operations)
        self.after = after
        self.end = end
        self.facts: dict[str, list[Fact]] = collections.defaultdict(list)
        self.claims: dict[str, list[Operation]] = collections.defaultdict(list)
        # Who let go of what: by consumer, then unit.
        self.ends: dict[str, dict[str, list[Operation]]]
        self.ends = collections.defaultdict(dict)
        # Who took a host out of use, or put it back.
        self.switches: dict[str, list[Operation]]
        self.switches = collections.defaultdict(list)
        self._groups: dict[str, set[int]] = collections.defaultdict(set)
        self._is_republished: dict[str, bool] = {}
        self._publishes = [
            o for o in operations
            if o.act is Act.PUBLISH and o.may_have_happened
        ]  # fmt: skip
        for operation in (*operations, end):
            self._take(operation)
        for facts in self.facts.values():
            facts.sort(key=lambda fact: fact.by.begun_ns)

    def _take(self, operation: Operation) -> None:
        for sight in operation.sights:
            self.facts[sight.unit].append(Fact(sight, operation))
        if operation.act is Act.CLAIM and operation.consumer:
            self.claims[operation.consumer].append(operation)
        if operation.ends is not None and operation.may_have_happened:
            unit, consumer = operation.ends
            self.ends[consumer].setdefault(unit, []).append(operation)
        is_switch = operation.act in (Act.CORDON, Act.UNCORDON)
        if is_switch and operation.may_have_happened:
            self.switches[operation.host].append(operation)
        for unit, group in operation.shown.items():
            self._groups[unit].add(group)

    def may_vanish(self, unit: str, after_ns: int, before_ns: int) -> bool:
        """Whether it may have left the ledger, and begun anew, between."""
        host = unit.partition("/")[0]
        return any(
            o.host == host
            and unit not in o.shown
            and o.begun_ns < before_ns
            and o.ended_ns > after_ns
            for o in self._publishes
        )

    def may_begin_anew(self, one: Fact, other: Fact) -> bool:
        """Whether these two may tell of two lives of the unit."""
        return self.may_vanish(
            one.sight.unit,
            min(one.by.begun_ns, other.by.begun_ns),
            max(one.by.ended_ns, other.by.ended_ns),
        )

    def is_republished(self, unit: str) -> bool:
        """Whether publishing may have changed the unit at any time."""
        if unit not in self._is_republished:
            self._is_republished[unit] = len(
                self._groups[unit]
            ) > 1 or self.may_vanish(unit, 0, NEVER_NS)
        return self._is_republished[unit]

    def let_go(self, consumer: str, before_ns: int) -> set[str]:
        """The units of a consumer whose hold may be over by then."""
        return {
            unit
            for unit, ends in self.ends.get(consumer, {}).items()
            if any(o.begun_ns < before_ns for o in ends)
        }

"""The state counter of a unit: its state, and who may claim it.

``total`` is 16 * count + 2 * step, and 1 more where the host does not show
the unit.
The count goes up with each change.  As long as the unit is nobody's, or was
just claimed, ``min_unit`` and ``max_unit`` let an allocation have one of two
amounts: twice the count is a *reservation*, which holds nothing, and 1 more
is a *hold*.  Afterwards they are the amount of its holder.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping

from gpu_passthrough_plugin.allocation.placement.names import (
    HOST_CLASS,
    STATE_COUNTER,
)
from gpu_passthrough_plugin.model.unit import State


class Step(enum.IntEnum):
    """Where a unit is; an ``OPEN`` one is claimed once it is held."""

    OPEN = 0
    PREPARING = 1
    ACTIVE = 2
    RELEASING = 3
    SANITISING = 4
    # Claimed, and changed since.
    CLAIMED = 5
    QUARANTINED = 6


_STEPS: Mapping[State, Step] = {
    State.FREE: Step.OPEN,
    **{State[step.name]: step for step in Step if step is not Step.OPEN},
}
Inventory = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What is allocated of a unit.

    :param amount: of the state counter, the newest where there are
        several; 0 by one who knows nothing of state counters.
    :param consumers: how many have something of it.
    """

    amount: int = 0
    consumers: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class StateCounter:
    """What the inventory of a state counter says.

    :param holder_amount: None where nobody has the unit, or only the
        total was read.
    """

    count: int
    step: Step
    is_missing: bool
    holder_amount: int | None = None

    @property
    def total(self) -> int:
        return self.count * 16 + self.step * 2 + self.is_missing

    @property
    def reservation(self) -> int:
        """How much of it whoever wants the unit takes first."""
        return 2 * self.count

    @property
    def hold(self) -> int:
        """How much of it whoever claims the unit takes."""
        return self.reservation + 1

    @property
    def is_idle(self) -> bool:
        """Whether its step alone says that the unit is nobody's."""
        return self.step in (Step.OPEN, Step.QUARANTINED)

    def is_held_by(self, amount: int) -> bool:
        """Whether an allocation of that much of it holds the unit."""
        if self.is_idle:
            return self.step is Step.OPEN and amount == self.hold
        return amount % 2 == 1 and self.holder_amount in (None, amount)

    def is_taken_elsewhere(self, usage: Usage) -> bool:
        """Whether somebody has the unit who knows nothing of counters."""
        is_open = self.step is Step.OPEN
        return is_open and usage.consumers > 0 and not usage.amount

    def is_leftover(self, amount: int) -> bool:
        """Whether an allocation of that much is left of a hold that ended.

        One of more than the counter counts is of a later hold than was
        read.
        """
        return self.is_idle and 0 < amount < self.reservation

    def state(self, usage: Usage) -> State:
        """The state of a unit."""
        if self.step is not Step.OPEN:
            return State[self.step.name]
        is_held = self.is_held_by(usage.amount)
        is_claimed = is_held or self.is_taken_elsewhere(usage)
        return State.CLAIMED if is_claimed else State.FREE

    def generation(self, usage: Usage) -> int:
        """The generation of a unit's record: a claim is a change as well."""
        is_fresh = self.step is Step.OPEN and (
            self.state(usage) is State.CLAIMED
        )
        return 2 * self.count - 1 + is_fresh

    def moved(
        self, usage: Usage, to: State, *, is_missing: bool | None = None
    ) -> StateCounter:
        """The counter once its unit is in that state.

        :param is_missing: None for as it was.
        """
        after = StateCounter(
            count=self.count + 1,
            step=_STEPS[to],
            is_missing=self.is_missing if is_missing is None else is_missing,
        )
        if after.is_idle:
            return after
        # Nobody fits the hold of a unit that is in use, and allocated to
        # none.
        amount = usage.amount or after.hold
        return dataclasses.replace(after, holder_amount=amount)

    def inventory(self, resource_class: str) -> Inventory:
        """The inventory of a unit's provider."""
        units = (self.reservation, self.hold)
        if not self.is_idle:
            units = (self.holder_amount or self.hold,) * 2
        is_reserved = self.is_missing or self.step is Step.QUARANTINED
        return {
            resource_class: _inventory(1, (1, 1), int(is_reserved)),
            STATE_COUNTER: _inventory(self.total, units, 0),
        }


def from_total(total: int, holder_amount: int | None = None) -> StateCounter:
    """The state counter whose inventory has that total."""
    count, rest = divmod(total, 16)
    counter = StateCounter(count, Step(rest // 2), bool(rest % 2))
    if counter.is_idle:
        return counter
    return dataclasses.replace(counter, holder_amount=holder_amount)


def first_after(highest: int) -> StateCounter:
    """The state counter of a unit that comes: later than all that went."""
    return StateCounter(highest + 1, Step.OPEN, False)


def usage_of(amounts: Collection[int]) -> Usage:
    """What is allocated of a unit.

    :param amounts: of its state counter, one of each of its consumers.
    """
    return Usage(max(amounts, default=0), len(amounts))


def is_reservation(amount: int) -> bool:
    """Whether an allocation of that much of any counter holds nothing yet."""
    return amount > 0 and amount % 2 == 0


def host_inventory(generation: int, highest: int) -> Inventory:
    """The inventory of our provider of a host; nobody allocates of it.

    :param highest: count that a unit of the host had when it went.
    """
    return {HOST_CLASS: _inventory(generation + 1, (1, 1 + highest), 0)}


def highest_count(inventories: Mapping[str, Mapping[str, int]]) -> int:
    """The same, of our provider's inventories."""
    if HOST_CLASS not in inventories:
        return 0
    return inventories[HOST_CLASS]["max_unit"] - 1


def _inventory(
    total: int, units: tuple[int, int], reserved: int
) -> Mapping[str, float]:
    return {
        "total": total,
        "reserved": reserved,
        "min_unit": units[0],
        "max_unit": units[1],
        "step_size": 1,
        "allocation_ratio": 1.0,
    }

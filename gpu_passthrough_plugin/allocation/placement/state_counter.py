"""How the state of a unit is written as an inventory in Placement.

Each unit's provider has the inventory of a state counter.  Its ``total`` is
16 * count + 2 * step, plus 1 where the host does not report the unit.  The
count rises with every change.

While no consumer uses the unit, or one has just claimed it, ``min_unit`` and
``max_unit`` allow an allocation of one of two amounts: twice the count is a
*reservation*, which holds nothing, and 1 more is a *hold*.  Later they allow
only the amount of the unit's holder.

The inventory of the unit's own class, of which there is 1, has the token of
the move that wrote it as its ``max_unit``.
"""

from __future__ import annotations

import dataclasses
import enum
import secrets
from collections.abc import Collection, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.model.unit import State


class Step(enum.IntEnum):
    """Where a unit is in its life; an ``OPEN`` one with a hold is claimed."""

    OPEN = 0
    PREPARING = 1
    ACTIVE = 2
    RELEASING = 3
    SANITISING = 4
    # Claimed, and changed since.
    CLAIMED = 5
    QUARANTINED = 6


# Source: placement, db/constants.py (MAX_INT).
_MAX_UNIT = 2**31 - 1
_STEPS: Mapping[State, Step] = {
    State.FREE: Step.OPEN,
    **{State[step.name]: step for step in Step if step is not Step.OPEN},
}
_STEP_NUMBERS = frozenset(step.value for step in Step)
Inventory = Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What is allocated of a unit.

    :param amount: of the state counter, the highest of any consumer; 0 for a
        client that allocates without the state counter, such as Nova.
    :param consumers: how many consumers have an allocation of the unit.
    """

    amount: int = 0
    consumers: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class StateCounter:
    """The inventory of a state counter.

    :param count: how often the unit changed.
    :param holder_amount: the amount that its holder has; None for an idle
        unit, or where only the total was read.
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
        """Return the amount that reserves the unit."""
        return 2 * self.count

    @property
    def hold(self) -> int:
        """Return the amount that claims the unit."""
        return self.reservation + 1

    @property
    def is_idle(self) -> bool:
        """Whether the step alone says that no consumer uses the unit."""
        return self.step in (Step.OPEN, Step.QUARANTINED)

    def is_held_by(self, amount: int) -> bool:
        """Whether an allocation of this amount holds the unit."""
        if self.is_idle:
            return self.step is Step.OPEN and amount == self.hold
        return amount % 2 == 1 and self.holder_amount in (None, amount)

    def is_foreign(self, usage: Usage) -> bool:
        """Whether a client that ignores state counters allocated the unit."""
        is_open = self.step is Step.OPEN
        return is_open and usage.consumers > 0 and not usage.amount

    def is_leftover(self, amount: int) -> bool:
        """Whether an allocation of this amount is left of an ended hold.

        A higher amount than the counter allows belongs to a hold that is
        newer than this reading.
        """
        return self.is_idle and 0 < amount < self.reservation

    def state(self, usage: Usage) -> State:
        """Return the state of the unit."""
        if self.step is not Step.OPEN:
            return State[self.step.name]
        is_claimed = self.is_held_by(usage.amount) or self.is_foreign(usage)
        return State.CLAIMED if is_claimed else State.FREE

    def generation(self, usage: Usage) -> int:
        """Return the generation of the unit's record: a claim counts too."""
        is_claimed = self.state(usage) is State.CLAIMED
        is_just_claimed = self.step is Step.OPEN and is_claimed
        return 2 * self.count - 1 + is_just_claimed

    def moved(
        self, usage: Usage, state: State, *, is_missing: bool | None = None
    ) -> StateCounter:
        """Return the counter of the unit once it is in ``state``.

        :param usage: of the unit before the move.
        :param is_missing: None leaves it as it is.
        """
        after = StateCounter(
            count=self.count + 1,
            step=_STEPS[state],
            is_missing=self.is_missing if is_missing is None else is_missing,
        )
        if after.is_idle:
            return after
        # A unit in use whose allocation was removed: this amount is nobody's.
        amount = usage.amount or after.hold
        return dataclasses.replace(after, holder_amount=amount)

    def inventory(self, resource_class: str, token: int = 1) -> Inventory:
        """Return all inventories of the unit's provider.

        :param resource_class: of the unit.
        :param token: of the move that writes them.
        """
        amounts = (self.reservation, self.hold)
        if not self.is_idle:
            amounts = (self.holder_amount or self.hold,) * 2
        is_reserved = self.is_missing or self.step is Step.QUARANTINED
        return {
            resource_class: _inventory(1, (1, token), int(is_reserved)),
            names.STATE_COUNTER: _inventory(self.total, amounts, 0),
        }


def from_total(total: int, holder_amount: int | None = None) -> StateCounter:
    """Return the state counter whose inventory has this total.

    :param holder_amount: its ``min_unit``, if that was read.
    :raises Invalid: when no state counter has this total.
    """
    count, rest = divmod(total, 16)
    if rest // 2 not in _STEP_NUMBERS:
        raise errors.Invalid(
            f"{names.STATE_COUNTER} has a total of {total}, which is no step"
            " of a unit's life"
        )
    counter = StateCounter(count, Step(rest // 2), bool(rest % 2))
    if counter.is_idle:
        return counter
    return dataclasses.replace(counter, holder_amount=holder_amount)


def first_after(highest: int) -> StateCounter:
    """Return the state counter of a new unit.

    Its count exceeds every one that the host has used, so that no outdated
    record or claim can match the unit.

    :param highest: the ``highest_count`` of the host.
    """
    return StateCounter(highest + 1, Step.OPEN, False)


def usage_of(amounts: Collection[int]) -> Usage:
    """Return what is allocated of a unit.

    :param amounts: of its state counter, one for each consumer.
    """
    return Usage(max(amounts, default=0), len(amounts))


def new_token() -> int:
    """Return what tells one move's inventory from that of another."""
    return 2 + secrets.randbelow(_MAX_UNIT - 1)


def is_reservation(amount: int) -> bool:
    """Whether an allocation of this amount of any counter holds nothing."""
    return amount > 0 and amount % 2 == 0


def host_inventory(generation: int, highest: int) -> Inventory:
    """Return the inventory of a host's provider, which nobody allocates.

    :param generation: of the host's inventory of units.
    :param highest: the highest count that any removed unit had.
    """
    amounts = (1, 1 + highest)
    return {names.HOST_CLASS: _inventory(generation + 1, amounts, 0)}


def highest_count(inventories: Mapping[str, Mapping[str, int]]) -> int:
    """Return the highest count of a host's removed units; 0 if none.

    :param inventories: of the host's provider.
    """
    if names.HOST_CLASS not in inventories:
        return 0
    return inventories[names.HOST_CLASS]["max_unit"] - 1


def _inventory(
    total: int, amounts: tuple[int, int], reserved: int
) -> Mapping[str, float]:
    return {
        "total": total,
        "reserved": reserved,
        "min_unit": amounts[0],
        "max_unit": amounts[1],
        "step_size": 1,
        "allocation_ratio": 1.0,
    }

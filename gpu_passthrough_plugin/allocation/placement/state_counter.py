"""The lease of a unit: its state, as an inventory and what is taken of it.

``total`` is 16 * count + 2 * step, and 1 more where the host does not show
the unit.
The count goes up with each change.  As long as the unit is nobody's, or was
just claimed, ``min_unit`` and ``max_unit`` let an allocation have one of two
amounts: twice the count is a *bid*, which holds nothing, and 1 more is a
*hold*.  Afterwards they are the ``token``: the amount of its holder.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping

from gpu_passthrough_plugin.allocation.placement.names import HOST, LEASE
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
class Lease:
    """What the lease's inventory says.

    :param token: None where nobody has the unit, or only the total was
        read.
    """

    count: int
    step: Step
    is_missing: bool
    token: int | None = None

    @property
    def total(self) -> int:
        return self.count * 16 + self.step * 2 + self.is_missing

    @property
    def bid(self) -> int:
        """How much of it whoever wants the unit takes first."""
        return 2 * self.count

    @property
    def hold(self) -> int:
        """How much of it whoever claims the unit takes."""
        return self.bid + 1

    @property
    def is_nobodys(self) -> bool:
        """Whether its step alone says that the unit is nobody's."""
        return self.step in (Step.OPEN, Step.QUARANTINED)

    def is_held_by(self, amount: int) -> bool:
        """Whether an allocation of that much of it holds the unit."""
        if self.is_nobodys:
            return self.step is Step.OPEN and amount == self.hold
        return amount % 2 == 1 and self.token in (None, amount)


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What is allocated of a unit.

    :param amount: of the lease, the newest where there are several; 0 by
        one who knows nothing of leases.
    :param takers: how many have something of it.
    """

    amount: int = 0
    takers: int = 0


def of_total(total: int, token: int | None = None) -> Lease:
    """The lease whose inventory has that total."""
    count, rest = divmod(total, 16)
    found = Lease(count, Step(rest // 2), bool(rest % 2))
    return (
        found if found.is_nobodys else dataclasses.replace(found, token=token)
    )


def taken(amounts: Collection[int]) -> Taken:
    """What is allocated of a unit.

    :param amounts: of its lease, one of each of its takers.
    """
    return Taken(max(amounts, default=0), len(amounts))


def is_foreign(lease: Lease, taken: Taken) -> bool:
    """Whether somebody has the unit who knows nothing of leases."""
    is_open = lease.step is Step.OPEN
    return is_open and taken.takers > 0 and not taken.amount


def is_bid(amount: int) -> bool:
    """Whether an allocation of that much of any lease holds nothing yet."""
    return amount > 0 and amount % 2 == 0


def is_ended(lease: Lease, amount: int) -> bool:
    """Whether an allocation of that much is left of a hold that ended.

    One of more than the lease counts is of a later hold than was read.
    """
    return lease.is_nobodys and 0 < amount < lease.bid


def state(lease: Lease, taken: Taken) -> State:
    """The state of a unit."""
    if lease.step is not Step.OPEN:
        return State[lease.step.name]
    is_held = lease.is_held_by(taken.amount) or is_foreign(lease, taken)
    return State.CLAIMED if is_held else State.FREE


def generation(lease: Lease, taken: Taken) -> int:
    """The generation of a unit's record: a claim is a change as well."""
    is_fresh = lease.step is Step.OPEN and (
        state(lease, taken) is State.CLAIMED
    )
    return 2 * lease.count - 1 + is_fresh


def moved(
    lease: Lease, taken: Taken, to: State, *, is_missing: bool | None = None
) -> Lease:
    """The lease once its unit is in that state.

    :param is_missing: None for as it was.
    """
    after = Lease(
        count=lease.count + 1,
        step=_STEPS[to],
        is_missing=lease.is_missing if is_missing is None else is_missing,
    )
    if after.is_nobodys:
        return after
    # Nobody fits the hold of a unit that is in use, and allocated to none.
    return dataclasses.replace(after, token=taken.amount or after.hold)


def inventory(lease: Lease, resource_class: str) -> Inventory:
    """The inventory of a unit's provider."""
    units = (lease.bid, lease.hold)
    if not lease.is_nobodys:
        units = (lease.token or lease.hold,) * 2
    is_reserved = lease.is_missing or lease.step is Step.QUARANTINED
    return {
        resource_class: _inventory(1, (1, 1), int(is_reserved)),
        LEASE: _inventory(lease.total, units, 0),
    }


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


def host_inventory(generation: int, highest: int) -> Inventory:
    """The inventory of our provider of a host; nobody allocates of it.

    :param highest: count that a unit of the host had when it went.
    """
    return {HOST: _inventory(generation + 1, (1, 1 + highest), 0)}


def highest(found: Mapping[str, Mapping[str, int]]) -> int:
    """The same, of our provider's inventories."""
    return found[HOST]["max_unit"] - 1 if HOST in found else 0


def first(highest: int) -> Lease:
    """The lease of a unit that comes: later than all that went."""
    return Lease(highest + 1, Step.OPEN, False)

"""The lease of a unit: its state, as an inventory and what is taken of it.

``total`` is 16 * count + 2 * step, and 1 more where the host does not show
the unit.
The count goes up with each change.  ``min_unit`` and ``max_unit`` are the
``token``, the one amount that an allocation of it may have: the count, as
long as nobody holds the unit; its holder's afterwards.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from gpu_passthrough_plugin.allocation.placement.names import HOST, LEASE
from gpu_passthrough_plugin.model.unit import State


class Step(enum.IntEnum):
    """Where a unit is; an ``OPEN`` one is claimed once it is allocated."""

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

    :param token: None where only its total was read.
    """

    count: int
    step: Step
    is_missing: bool
    token: int | None = None

    @property
    def total(self) -> int:
        return self.count * 16 + self.step * 2 + self.is_missing

    def is_held_by(self, amount: int) -> bool:
        """Whether an allocation of that much of it holds the unit."""
        if self.step is Step.OPEN:
            return amount == self.count
        return amount > 0 and self.step is not Step.QUARANTINED


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What is allocated of a unit.

    :param amount: of the lease; 0 by one who knows nothing of leases.
    :param is_taken: whether the unit's own class is.
    """

    amount: int = 0
    is_taken: bool = False


FIRST = Lease(1, Step.OPEN, False, 1)


def of_total(total: int, token: int | None = None) -> Lease:
    """The lease whose inventory has that total."""
    count, rest = divmod(total, 16)
    return Lease(count, Step(rest // 2), bool(rest % 2), token)


def is_foreign(lease: Lease, taken: Taken) -> bool:
    """Whether somebody has the unit who knows nothing of leases."""
    return lease.step is Step.OPEN and taken.is_taken and not taken.amount


def is_ended(lease: Lease, amount: int) -> bool:
    """Whether an allocation of that much is left of a hold that ended.

    One of more than the lease counts is of a later hold than was read.
    """
    is_nobodys = lease.step in (Step.OPEN, Step.QUARANTINED)
    return is_nobodys and 0 < amount < lease.count


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
    step = _STEPS[to]
    count = lease.count + 1
    is_over = step in (Step.OPEN, Step.QUARANTINED)
    return Lease(
        count=count,
        step=step,
        is_missing=lease.is_missing if is_missing is None else is_missing,
        token=count if is_over or not taken.amount else taken.amount,
    )


def inventory(lease: Lease, resource_class: str) -> Inventory:
    """The inventory of a unit's provider."""
    token = lease.count if lease.token is None else lease.token
    is_reserved = lease.is_missing or lease.step is Step.QUARANTINED
    return {
        resource_class: _inventory(1, 1, int(is_reserved)),
        LEASE: _inventory(lease.total, token, 0),
    }


def _inventory(total: int, unit: int, reserved: int) -> Mapping[str, float]:
    return {
        "total": total,
        "reserved": reserved,
        "min_unit": unit,
        "max_unit": unit,
        "step_size": 1,
        "allocation_ratio": 1.0,
    }


def host_inventory(generation: int) -> Inventory:
    """The inventory of our provider of a host; nobody allocates of it."""
    return {HOST: _inventory(generation + 1, 1, 0)}

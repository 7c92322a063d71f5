"""The state counter: what each number in its inventory means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation.placement import state_counter
from gpu_passthrough_plugin.allocation.placement.names import STATE_COUNTER
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Step,
    Usage,
)
from gpu_passthrough_plugin.model.unit import TRANSITIONS, State
from tests.unit.allocation.placement.build import FIRST, GPU_CLASS

COUNTERS = st.builds(
    StateCounter,
    st.integers(1, 2**27 - 1),
    st.sampled_from(Step),
    st.booleans(),
)


@given(COUNTERS)
def test_the_total_has_everything(counter: StateCounter) -> None:
    assert state_counter.from_total(counter.total) == counter
    assert state_counter.is_reservation(counter.reservation)
    assert not state_counter.is_reservation(counter.hold)
    # Source: placement, db/constants.py, MAX_INT.
    assert counter.total <= 2**31 - 1


@pytest.mark.parametrize(
    ("counter", "usage", "state", "generation"),
    [
        (FIRST, Usage(), State.FREE, 1),
        # A reservation holds nothing.
        (FIRST, Usage(2, 1), State.FREE, 1),
        (FIRST, Usage(3, 1), State.CLAIMED, 2),
        # Allocated by a client that ignores state counters.
        (FIRST, Usage(0, 1), State.CLAIMED, 2),
        (
            StateCounter(2, Step.PREPARING, False),
            Usage(3, 1),
            State.PREPARING,
            3,
        ),
        # The allocation was removed by hand; the unit is still in use.
        (StateCounter(2, Step.ACTIVE, False), Usage(), State.ACTIVE, 3),
        (StateCounter(3, Step.CLAIMED, False), Usage(3, 1), State.CLAIMED, 5),
        # The allocation of an ended hold is left.
        (StateCounter(4, Step.OPEN, False), Usage(3, 1), State.FREE, 7),
        (
            StateCounter(4, Step.QUARANTINED, True),
            Usage(),
            State.QUARANTINED,
            7,
        ),
    ],
)
def test_state_and_generation(
    counter: StateCounter, usage: Usage, state: State, generation: int
) -> None:
    assert counter.state(usage) is state
    assert counter.generation(usage) == generation


@given(
    COUNTERS.filter(lambda counter: counter.count < 2**26),
    st.booleans(),
    st.data(),
)
def test_a_move_reaches_the_state_at_a_later_generation(
    counter: StateCounter, is_held: bool, data: st.DataObject
) -> None:
    usage = Usage(counter.hold, 1) if is_held else Usage()
    edges = TRANSITIONS[counter.state(usage)]
    state = data.draw(st.sampled_from(sorted(edges)))
    after = counter.moved(usage, state)
    assert after.state(usage) is state
    assert after.is_missing == counter.is_missing
    assert after.generation(usage) > counter.generation(usage)
    if state in (State.FREE, State.QUARANTINED):
        assert after.is_leftover(usage.amount) == is_held
    elif is_held:
        assert after.holder_amount == usage.amount


@pytest.mark.parametrize(
    ("counter", "reserved", "amounts"),
    [
        (FIRST, 0, (2, 3)),
        (StateCounter(5, Step.OPEN, True), 1, (10, 11)),
        (StateCounter(5, Step.QUARANTINED, False), 1, (10, 11)),
        (StateCounter(5, Step.ACTIVE, False, 7), 0, (7, 7)),
        # The allocation was removed by hand: no consumer has that amount.
        (StateCounter(5, Step.ACTIVE, False), 0, (11, 11)),
    ],
)
def test_inventories(
    counter: StateCounter, reserved: int, amounts: tuple[int, int]
) -> None:
    inventory = counter.inventory(GPU_CLASS)
    assert inventory[GPU_CLASS]["total"] == 1
    assert inventory[GPU_CLASS]["reserved"] == reserved
    own = inventory[STATE_COUNTER]
    assert (int(own["min_unit"]), int(own["max_unit"])) == amounts
    # There is enough of it for a claim.
    assert own["total"] - own["reserved"] >= amounts[1]


def test_leftovers_are_of_earlier_counts() -> None:
    now = StateCounter(4, Step.OPEN, False)
    later = (11, 10, now.hold, now.reservation)
    assert not any(now.is_leftover(amount) for amount in later)
    assert not StateCounter(4, Step.ACTIVE, False).is_leftover(7)
    assert StateCounter(4, Step.QUARANTINED, False).is_leftover(7)
    # An old reservation is as void as an old hold.
    assert now.is_leftover(6)


def test_the_highest_amount_counts() -> None:
    assert state_counter.usage_of([5, 9, 0]) == Usage(9, 3)
    assert state_counter.usage_of([]) == Usage()


def test_the_holder_of_a_unit_in_use() -> None:
    counter = StateCounter(5, Step.ACTIVE, False, 9)
    assert counter.is_held_by(9)
    # An earlier hold, and a late reservation.
    assert not any(counter.is_held_by(amount) for amount in (7, 8, 0))
    assert not StateCounter(5, Step.QUARANTINED, False).is_held_by(11)


@pytest.mark.parametrize("highest", [0, 7])
def test_a_new_unit_counts_from_above_every_removed_one(highest: int) -> None:
    # Source: placement, GET .../inventories.
    inventories = {
        name: {key: int(value) for key, value in inventory.items()}
        for name, inventory in state_counter.host_inventory(3, highest).items()
    }
    assert state_counter.highest_count(inventories) == highest
    assert state_counter.first_after(highest).count == highest + 1
    assert state_counter.highest_count({}) == 0

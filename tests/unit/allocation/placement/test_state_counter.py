"""The lease: what each of its numbers says."""

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
from gpu_passthrough_plugin.model.unit import EDGES, State

FIRST = state_counter.first_after(0)
GPU = "CUSTOM_PCI_10DE_1430"
COUNTERS = st.builds(
    StateCounter,
    st.integers(1, 2**27 - 1),
    st.sampled_from(Step),
    st.booleans(),
)


@given(COUNTERS)
def test_its_total_says_it_all(found: StateCounter) -> None:
    assert state_counter.from_total(found.total) == found
    assert state_counter.is_reservation(found.reservation)
    assert not state_counter.is_reservation(found.hold)
    # Source: placement, db/constants.py, MAX_INT.
    assert found.total <= 2**31 - 1


@pytest.mark.parametrize(
    ("found", "usage", "state", "generation"),
    [
        (FIRST, Usage(), State.FREE, 1),
        # A bid holds nothing.
        (FIRST, Usage(2, 1), State.FREE, 1),
        (FIRST, Usage(3, 1), State.CLAIMED, 2),
        # By one who knows nothing of leases.
        (FIRST, Usage(0, 1), State.CLAIMED, 2),
        (
            StateCounter(2, Step.PREPARING, False),
            Usage(3, 1),
            State.PREPARING,
            3,
        ),
        # Somebody took the allocation away; the unit is in use still.
        (StateCounter(2, Step.ACTIVE, False), Usage(), State.ACTIVE, 3),
        (StateCounter(3, Step.CLAIMED, False), Usage(3, 1), State.CLAIMED, 5),
        # A hold that ended, whose allocation is left.
        (StateCounter(4, Step.OPEN, False), Usage(3, 1), State.FREE, 7),
        (
            StateCounter(4, Step.QUARANTINED, True),
            Usage(),
            State.QUARANTINED,
            7,
        ),
    ],
)
def test_states(
    found: StateCounter, usage: Usage, state: State, generation: int
) -> None:
    assert found.state(usage) is state
    assert found.generation(usage) == generation


@given(
    COUNTERS.filter(lambda found: found.count < 2**26),
    st.booleans(),
    st.data(),
)
def test_a_move_is_to_that_state_and_later(
    found: StateCounter, is_held: bool, data: st.DataObject
) -> None:
    usage = Usage(found.hold, 1) if is_held else Usage()
    now = found.state(usage)
    to = data.draw(st.sampled_from(sorted(EDGES[now])))
    after = found.moved(usage, to)
    left = after.state(usage)
    # A free unit is claimed by an allocation alone.
    assert left is to
    assert after.is_missing == found.is_missing
    assert after.generation(usage) > found.generation(usage)
    if to in (State.FREE, State.QUARANTINED):
        assert after.is_leftover(usage.amount) == is_held
    elif is_held:
        assert after.holder_amount == usage.amount


@pytest.mark.parametrize(
    ("found", "reserved", "units"),
    [
        (FIRST, 0, (2, 3)),
        (StateCounter(5, Step.OPEN, True), 1, (10, 11)),
        (StateCounter(5, Step.QUARANTINED, False), 1, (10, 11)),
        (StateCounter(5, Step.ACTIVE, False, 7), 0, (7, 7)),
        # Whose allocation somebody took away: nobody has that amount.
        (StateCounter(5, Step.ACTIVE, False), 0, (11, 11)),
    ],
)
def test_inventories(
    found: StateCounter, reserved: int, units: tuple[int, int]
) -> None:
    inventory = found.inventory(GPU)
    assert inventory[GPU]["total"] == 1
    assert inventory[GPU]["reserved"] == reserved
    own = inventory[STATE_COUNTER]
    assert (int(own["min_unit"]), int(own["max_unit"])) == units
    # What is left of it is enough for the one who claims.
    assert own["total"] - own["reserved"] >= units[1]


def test_a_later_hold_than_was_read_is_not_ended() -> None:
    now = StateCounter(4, Step.OPEN, False)
    assert not any(
        now.is_leftover(amount)
        for amount in (11, 10, now.hold, now.reservation)
    )
    assert not StateCounter(4, Step.ACTIVE, False).is_leftover(7)
    assert StateCounter(4, Step.QUARANTINED, False).is_leftover(7)
    # A bid of before counts as little as a hold.
    assert now.is_leftover(6)


def test_the_newest_of_several_is_the_one_that_counts() -> None:
    found = state_counter.usage_of([5, 9, 0])
    assert found == Usage(9, 3)
    assert state_counter.usage_of([]) == Usage()


def test_a_hold_is_the_token_of_what_is_in_use() -> None:
    found = StateCounter(5, Step.ACTIVE, False, 9)
    assert found.is_held_by(9)
    # One that ended and is left, and a bid that came late.
    assert not any(found.is_held_by(amount) for amount in (7, 8, 0))
    assert not StateCounter(5, Step.QUARANTINED, False).is_held_by(11)


@pytest.mark.parametrize("highest", [0, 7])
def test_who_comes_is_later_than_who_went(highest: int) -> None:
    host = state_counter.host_inventory(3, highest)
    # Source: placement, GET .../inventories.
    read = {
        name: {k: int(v) for k, v in of.items()} for name, of in host.items()
    }
    assert state_counter.highest_count(read) == highest
    assert state_counter.first_after(highest).count == highest + 1
    assert state_counter.highest_count({}) == 0

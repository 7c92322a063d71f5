"""The lease: what each of its numbers says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation.placement import state_counter
from gpu_passthrough_plugin.allocation.placement.names import LEASE
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    Lease,
    Step,
    Taken,
)
from gpu_passthrough_plugin.model.unit import EDGES, State

FIRST = state_counter.first(0)
GPU = "CUSTOM_PCI_10DE_1430"
LEASES = st.builds(
    Lease, st.integers(1, 2**27 - 1), st.sampled_from(Step), st.booleans()
)


@given(LEASES)
def test_its_total_says_it_all(found: Lease) -> None:
    assert state_counter.of_total(found.total) == found
    assert state_counter.is_bid(found.bid)
    assert not state_counter.is_bid(found.hold)
    # Source: placement, db/constants.py, MAX_INT.
    assert found.total <= 2**31 - 1


@pytest.mark.parametrize(
    ("found", "taken", "state", "generation"),
    [
        (FIRST, Taken(), State.FREE, 1),
        # A bid holds nothing.
        (FIRST, Taken(2, 1), State.FREE, 1),
        (FIRST, Taken(3, 1), State.CLAIMED, 2),
        # By one who knows nothing of leases.
        (FIRST, Taken(0, 1), State.CLAIMED, 2),
        (Lease(2, Step.PREPARING, False), Taken(3, 1), State.PREPARING, 3),
        # Somebody took the allocation away; the unit is in use still.
        (Lease(2, Step.ACTIVE, False), Taken(), State.ACTIVE, 3),
        (Lease(3, Step.CLAIMED, False), Taken(3, 1), State.CLAIMED, 5),
        # A hold that ended, whose allocation is left.
        (Lease(4, Step.OPEN, False), Taken(3, 1), State.FREE, 7),
        (Lease(4, Step.QUARANTINED, True), Taken(), State.QUARANTINED, 7),
    ],
)
def test_states(
    found: Lease, taken: Taken, state: State, generation: int
) -> None:
    assert state_counter.state(found, taken) is state
    assert state_counter.generation(found, taken) == generation


@given(
    LEASES.filter(lambda found: found.count < 2**26),
    st.booleans(),
    st.data(),
)
def test_a_move_is_to_that_state_and_later(
    found: Lease, is_held: bool, data: st.DataObject
) -> None:
    taken = Taken(found.hold, 1) if is_held else Taken()
    now = state_counter.state(found, taken)
    to = data.draw(st.sampled_from(sorted(EDGES[now])))
    after = state_counter.moved(found, taken, to)
    left = state_counter.state(after, taken)
    # A free unit is claimed by an allocation alone.
    assert left is to
    assert after.is_missing == found.is_missing
    assert state_counter.generation(after, taken) > state_counter.generation(
        found, taken
    )
    if to in (State.FREE, State.QUARANTINED):
        assert state_counter.is_ended(after, taken.amount) == is_held
    elif is_held:
        assert after.token == taken.amount


@pytest.mark.parametrize(
    ("found", "reserved", "units"),
    [
        (FIRST, 0, (2, 3)),
        (Lease(5, Step.OPEN, True), 1, (10, 11)),
        (Lease(5, Step.QUARANTINED, False), 1, (10, 11)),
        (Lease(5, Step.ACTIVE, False, 7), 0, (7, 7)),
        # Whose allocation somebody took away: nobody has that amount.
        (Lease(5, Step.ACTIVE, False), 0, (11, 11)),
    ],
)
def test_inventories(
    found: Lease, reserved: int, units: tuple[int, int]
) -> None:
    inventory = state_counter.inventory(found, GPU)
    assert inventory[GPU]["total"] == 1
    assert inventory[GPU]["reserved"] == reserved
    own = inventory[LEASE]
    assert (int(own["min_unit"]), int(own["max_unit"])) == units
    # What is left of it is enough for the one who claims.
    assert own["total"] - own["reserved"] >= units[1]


def test_a_later_hold_than_was_read_is_not_ended() -> None:
    now = Lease(4, Step.OPEN, False)
    assert not any(
        state_counter.is_ended(now, amount)
        for amount in (11, 10, now.hold, now.bid)
    )
    assert not state_counter.is_ended(Lease(4, Step.ACTIVE, False), 7)
    assert state_counter.is_ended(Lease(4, Step.QUARANTINED, False), 7)
    # A bid of before counts as little as a hold.
    assert state_counter.is_ended(now, 6)


def test_the_newest_of_several_is_the_one_that_counts() -> None:
    found = state_counter.taken([5, 9, 0])
    assert found == Taken(9, 3)
    assert state_counter.taken([]) == Taken()


def test_a_hold_is_the_token_of_what_is_in_use() -> None:
    found = Lease(5, Step.ACTIVE, False, 9)
    assert found.is_held_by(9)
    # One that ended and is left, and a bid that came late.
    assert not any(found.is_held_by(amount) for amount in (7, 8, 0))
    assert not Lease(5, Step.QUARANTINED, False).is_held_by(11)


@pytest.mark.parametrize("highest", [0, 7])
def test_who_comes_is_later_than_who_went(highest: int) -> None:
    host = state_counter.host_inventory(3, highest)
    # Source: placement, GET .../inventories.
    read = {
        name: {k: int(v) for k, v in of.items()} for name, of in host.items()
    }
    assert state_counter.highest(read) == highest
    assert state_counter.first(highest).count == highest + 1
    assert state_counter.highest({}) == 0

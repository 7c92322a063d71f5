"""Reservations as requests, and when they may become holds."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import reservations
from gpu_passthrough_plugin.allocation.placement.names import STATE_COUNTER
from gpu_passthrough_plugin.allocation.placement.service import Reply, Retry
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Step,
)
from tests.unit.allocation.build import unit
from tests.unit.allocation.placement.build import (
    FIRST,
    GPU_CLASS,
    A,
    B,
    refusal,
    stored,
)


@pytest.mark.parametrize(
    ("reply", "datum"),
    [
        (refusal(409, "placement.undefined_code"), "gpu:1"),
        (refusal(409, "placement.concurrent_update"), A),
        (refusal(400, "", "provider x that does not exist"), "gpu:1"),
    ],
)
def test_a_claim_that_is_tried_again(reply: Reply, datum: str) -> None:
    error = reservations.claim_error(reply, A, "gpu:1")
    assert isinstance(error, Retry)
    assert datum in str(error.error)


def test_a_claim_that_is_not_tried_again() -> None:
    reply = refusal(400, "", "JSON does not validate")
    error = reservations.claim_error(reply, A, "gpu:1")
    assert isinstance(error, errors.Unavailable)


@pytest.mark.parametrize("is_typed", [False, True])
def test_a_reservation_is_one_request(is_typed: bool) -> None:
    later = StateCounter(7, Step.OPEN, False)
    body = reservations.reservation_body(
        [stored(unit(1)), stored(unit(2), later)],
        "gpu:2",
        None,
        is_typed=is_typed,
    )
    typed = {"consumer_type": "GPU_PASSTHROUGH"} if is_typed else {}
    assert body == {
        "allocations": {
            "h/0000:01:00.0": {"resources": {GPU_CLASS: 1, STATE_COUNTER: 2}},
            "h/0000:02:00.0": {"resources": {GPU_CLASS: 1, STATE_COUNTER: 14}},
        },
        "project_id": "gpu-passthrough-plugin",
        "user_id": "gpu:2",
        "consumer_generation": None,
        **typed,
    }


@pytest.mark.parametrize(
    ("amounts", "is_only_reservation", "is_only_hold"),
    [
        ({A: 2}, True, False),
        ({A: 3}, False, True),
        # Placement gave it to both.
        ({A: 2, B: 2}, False, False),
        ({A: 2, B: 3}, False, False),
        # A late reservation of another consumer holds nothing; a hold does.
        ({A: 3, B: 2}, False, True),
        ({A: 3, B: 3}, False, False),
        # A client that ignores state counters.
        ({A: 2, B: 0}, False, False),
        ({A: 3, B: 0}, False, False),
        # As a cluster node answers that is behind.
        ({B: 2}, False, False),
        ({B: 3}, False, False),
        ({}, False, False),
    ],
)
def test_only_reservation_and_only_hold(
    amounts: dict[str, int], is_only_reservation: bool, is_only_hold: bool
) -> None:
    reserved = stored(unit(1))

    def checked(counter: StateCounter | None) -> tuple[bool, bool]:
        now = stored(unit(1), counter) if counter else None
        return (
            reservations.is_only_reservation(A, reserved, now, amounts),
            reservations.is_only_hold(A, reserved, now, amounts),
        )

    assert checked(FIRST) == (is_only_reservation, is_only_hold)
    # The unit changed meanwhile, or is gone.
    assert checked(StateCounter(2, Step.OPEN, False)) == (False, False)
    assert checked(None) == (False, False)
    # The hold was taken into use meanwhile.
    used = StateCounter(2, Step.PREPARING, False)
    assert checked(used) == (False, is_only_hold)


@pytest.mark.parametrize(
    ("age_s", "attempt", "is_dead"),
    [
        (5.0, 20, False),
        (6.0, 0, True),
        (-1.0, 20, False),
        # A Placement that does not tell.
        (None, 7, False),
        (None, 8, True),
    ],
)
def test_whose_client_is_dead(
    age_s: float | None, attempt: int, is_dead: bool
) -> None:
    assert reservations.is_dead(age_s, attempt) is is_dead

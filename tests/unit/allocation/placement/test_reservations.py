"""Bids as requests, and what becomes of them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import reservations
from gpu_passthrough_plugin.allocation.placement.names import STATE_COUNTER
from gpu_passthrough_plugin.allocation.placement.providers import UnitProvider
from gpu_passthrough_plugin.allocation.placement.service import Reply, Retry
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Step,
)
from tests.unit.allocation.build import unit
from tests.unit.allocation.placement.build import FIRST, A, B, stored
from tests.unit.allocation.placement.test_service import refusal


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (refusal(409, "placement.undefined_code"), "gpu:1"),
        (
            refusal(409, "placement.concurrent_update"),
            A,
        ),
        (refusal(400, "", "provider x that does not exist"), "gpu:1"),
    ],
)
def test_a_claim_that_is_worth_another_try(reply: Reply, said: str) -> None:
    found = reservations.claim_error(reply, A, "gpu:1")
    assert isinstance(found, Retry)
    assert said in str(found.error)


def test_a_claim_that_is_not() -> None:
    found = reservations.claim_error(
        refusal(400, "", "JSON does not validate"), A, "gpu:1"
    )
    assert isinstance(found, errors.Unavailable)


@pytest.mark.parametrize("is_typed", [False, True])
def test_a_bid_is_one_request(is_typed: bool) -> None:
    units = [
        stored(unit(1)),
        stored(unit(2), StateCounter(7, Step.OPEN, False)),
    ]
    body = reservations.reservation_body(
        units, "gpu:2", None, is_typed=is_typed
    )
    gpu = "CUSTOM_PCI_10DE_1430"
    expected = {
        "allocations": {
            "h/0000:01:00.0": {"resources": {gpu: 1, STATE_COUNTER: 2}},
            "h/0000:02:00.0": {"resources": {gpu: 1, STATE_COUNTER: 14}},
        },
        "project_id": "gpu-passthrough-plugin",
        "user_id": "gpu:2",
        "consumer_generation": None,
    }
    typed = {"consumer_type": "GPU_PASSTHROUGH"}
    assert body == expected | (typed if is_typed else {})


@pytest.mark.parametrize(
    ("takers", "is_only_reservation", "is_only_hold"),
    [
        ({A: 2}, True, False),
        ({A: 3}, False, True),
        # Both bid, and Placement gave it to both.
        ({A: 2, B: 2}, False, False),
        ({A: 2, B: 3}, False, False),
        # A bid that came late holds nothing; a hold does.
        ({A: 3, B: 2}, False, True),
        ({A: 3, B: 3}, False, False),
        # One who knows nothing of leases.
        ({A: 2, B: 0}, False, False),
        ({A: 3, B: 0}, False, False),
        # Of another, as a node of a cluster may answer that is behind.
        ({B: 2}, False, False),
        ({B: 3}, False, False),
        ({}, False, False),
    ],
)
def test_a_bid_is_alone_and_a_hold_nobody_elses(
    takers: dict[str, int], is_only_reservation: bool, is_only_hold: bool
) -> None:
    bid = stored(unit(1))

    def now(counter: StateCounter) -> UnitProvider:
        return UnitProvider(
            bid.uuid, 7, "CUSTOM_PCI_10DE_1430", counter, takers
        )

    assert (
        reservations.is_only_reservation(A, bid, now(FIRST))
        is is_only_reservation
    )
    assert reservations.is_only_hold(A, bid, now(FIRST)) is is_only_hold
    later = now(StateCounter(2, Step.OPEN, False))
    assert not reservations.is_only_reservation(A, bid, later)
    assert not reservations.is_only_hold(A, bid, later)
    # Somebody takes it along its life already: as this consumer's, or not.
    used = now(StateCounter(2, Step.PREPARING, False, FIRST.hold))
    assert reservations.is_only_hold(A, bid, used) is is_only_hold
    lost = now(StateCounter(2, Step.PREPARING, False, FIRST.hold + 2))
    assert not reservations.is_only_hold(A, bid, lost)

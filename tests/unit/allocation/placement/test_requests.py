"""Requests to Placement and its refusals, as data."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    bids,
    facts,
    failure,
    fleet,
    lease,
    order,
    terms,
)
from gpu_passthrough_plugin.allocation.placement.claim import Look
from gpu_passthrough_plugin.allocation.placement.failure import (
    Again,
    Clash,
    Reply,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Stored
from gpu_passthrough_plugin.allocation.placement.lease import (
    Lease,
    Step,
    Taken,
)
from gpu_passthrough_plugin.allocation.placement.names import LEASE
from gpu_passthrough_plugin.allocation.placement.reading import Consumer
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import request, unit

FIRST = lease.first(0)
A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
LOOK = Look(request("gpu:1"), A, None, Weight.PACK)


def stored(found: Unit, of: Lease = FIRST) -> Stored:
    made = fleet.stored(
        str(found.key), found.key.host, facts.traits(found), of, Taken()
    )
    assert made is not None
    return made


def refusal(status: int, code: str, detail: str = "no") -> Reply:
    return Reply(status, {"errors": [{"code": code, "detail": detail}]})


@pytest.mark.parametrize("clash", sorted(set(Clash) - {Clash.OTHER}))
def test_refusals_are_told_apart(clash: Clash) -> None:
    assert failure.clash(refusal(409, clash.value)) is clash
    assert failure.clash(refusal(400, clash.value)) is None


def test_a_refusal_nobody_knows_is_one_still() -> None:
    assert failure.clash(refusal(409, "placement.new")) is Clash.OTHER
    assert failure.clash(Reply(409, {})) is Clash.OTHER
    assert failure.detail(Reply(409, {"errors": "x"})) == "status 409"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (refusal(409, "placement.undefined_code"), "others were faster"),
        (
            refusal(409, "placement.concurrent_update"),
            f"what consumer {A} has",
        ),
        (refusal(400, "", "provider x that does not exist"), "others were"),
    ],
)
def test_a_claim_that_is_worth_another_try(reply: Reply, said: str) -> None:
    found = bids.refused(reply, LOOK.consumer, str(LOOK.request))
    assert isinstance(found, Again)
    assert said in str(found.error)


def test_a_claim_that_is_not() -> None:
    found = bids.refused(
        refusal(400, "", "JSON does not validate"), LOOK.consumer, "gpu:1"
    )
    assert isinstance(found, errors.Unavailable)


@pytest.mark.parametrize("is_typed", [False, True])
def test_a_bid_is_one_request(is_typed: bool) -> None:
    units = [stored(unit(1)), stored(unit(2), Lease(7, Step.OPEN, False))]
    body = bids.body(units, "gpu:2", None, is_typed=is_typed)
    gpu = "CUSTOM_PCI_10DE_1430"
    expected = {
        "allocations": {
            "h/0000:01:00.0": {"resources": {gpu: 1, LEASE: 2}},
            "h/0000:02:00.0": {"resources": {gpu: 1, LEASE: 14}},
        },
        "project_id": "gpu-passthrough-plugin",
        "user_id": "gpu:2",
        "consumer_generation": None,
    }
    typed = {"consumer_type": "GPU_PASSTHROUGH"}
    assert body == expected | (typed if is_typed else {})


@pytest.mark.parametrize(
    ("takers", "is_alone", "is_won"),
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
    takers: dict[str, int], is_alone: bool, is_won: bool
) -> None:
    bid = stored(unit(1))
    assert bids.is_alone(A, bid, bid, takers) is is_alone
    assert bids.is_won(A, bid, bid, takers) is is_won
    later = dataclasses.replace(bid, lease=Lease(2, Step.OPEN, False))
    for now in (later, None):
        assert not bids.is_alone(A, bid, now, takers)
        assert not bids.is_won(A, bid, now, takers)
    # Somebody takes it along its life already.
    used = dataclasses.replace(bid, lease=Lease(2, Step.PREPARING, False))
    assert bids.is_won(A, bid, used, takers) is is_won


def test_what_somebody_bids_for_is_free_and_not_offered() -> None:
    free = found_on(2)
    first, second = free.units
    asked = dataclasses.replace(first, taken=Taken(first.lease.bid, 1))
    busy = dataclasses.replace(free, units=(asked, second))
    assert [u.is_offered for u in busy.units] == [False, True]
    assert [u.is_free for u in busy.units] == [True, True]
    assert busy.without_bids() == free


def test_a_sum_is_asked_for_one_by_one() -> None:
    def summary(amount: int, gpu: int) -> dict[str, object]:
        classes = {LEASE: amount, "CUSTOM_PCI_10DE_1430": gpu}
        return {"resources": {k: {"used": v} for k, v in classes.items()}}

    summaries = {
        "free": summary(0, 0),
        "held": summary(3, 1),
        "both": summary(4, 2),
        "host": {"resources": {"VCPU": {"used": 8}}},
    }
    assert fleet.shared({"provider_summaries": summaries}) == ["both"]


def test_what_is_left_of_a_consumer() -> None:
    of = {"1": {"X": 1}, "2": {"X": 1}}
    left = {"2": of["2"]}
    found = Consumer(A, 3, "p", "gpu:2", "INSTANCE", of)
    assert found.body(left) == {
        "allocations": {"2": {"resources": of["2"]}},
        "project_id": "p",
        "user_id": "gpu:2",
        "consumer_generation": 3,
        "consumer_type": "INSTANCE",
    }
    old = dataclasses.replace(found, type=None)
    assert "consumer_type" not in old.body({})


def test_what_was_asked_for_is_compared_whatever_its_order() -> None:
    asked = terms.written(request("gpu:2,nic:1", 1, 0))
    assert asked == "gpu:2,nic:1; nodes 0,1"
    assert terms.request_in(asked) == "gpu:2,nic:1"
    assert terms.are_same(asked, request("nic:1,gpu:2", 0, 1))
    assert not terms.are_same(asked, request("nic:1,gpu:2"))
    with_terms = dataclasses.replace(
        request("gpu:2,nic:1", 0, 1),
        same_switch=True,
        forbidden_traits=frozenset({"CUSTOM_B", "CUSTOM_A"}),
    )
    assert terms.written(with_terms).endswith(
        "; same switch; not CUSTOM_A; not CUSTOM_B"
    )
    assert not terms.are_same(asked, with_terms)


def found_on(*numbers: int) -> Fleet:
    """Hosts a, b, … with so many free units."""
    hosts = [
        fleet.Host(name, name, 0, name, 0, frozenset(), False)
        for name in "abcdef"[: len(numbers)]
    ]
    units = [
        stored(unit(bus, host=host.name))
        for host, number in zip(hosts, numbers, strict=True)
        for bus in range(1, number + 1)
    ]
    return Fleet(tuple(hosts), tuple(units))


@pytest.mark.parametrize(
    ("weight", "text", "hosts"),
    [
        (Weight.PACK, "gpu:1", ["b", "c", "a"]),
        (Weight.SPREAD, "gpu:1", ["a", "c", "b"]),
        (Weight.PACK, "gpu:2", ["c", "a"]),
        (Weight.PACK, "gpu:4", []),
        (Weight.PACK, "nic:1", []),
    ],
)
def test_hosts_are_tried_by_weight(
    weight: Weight, text: str, hosts: list[str]
) -> None:
    found = order.candidates(found_on(3, 1, 2, 0), request(text), weight, 100)
    assert list(dict.fromkeys(c.host for c in found)) == hosts

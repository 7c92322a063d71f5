"""Which hosts a claim tries, in which order."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.allocation.placement import claim
from gpu_passthrough_plugin.allocation.placement.state_counter import Usage
from gpu_passthrough_plugin.model.allocation import Weight
from tests.unit.allocation.build import request
from tests.unit.allocation.placement.build import fleet


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
    best = claim.candidates(fleet(3, 1, 2, 0), request(text), weight, 100)
    assert list(dict.fromkeys(c.host for c in best)) == hosts


def test_no_more_candidates_than_the_limit() -> None:
    read = fleet(3, 1)
    best = claim.candidates(read, request("gpu:1"), Weight.PACK, 1)
    assert [c.host for c in best] == ["b"]


def test_a_reserved_unit_is_not_a_candidate() -> None:
    read = fleet(1)
    (stored,) = read.units
    reserved = dataclasses.replace(
        stored, usage=Usage(stored.counter.reservation, 1)
    )
    read = dataclasses.replace(read, units=(reserved,))
    assert not claim.candidates(read, request("gpu:1"), Weight.PACK, 9)
    free = read.without_reservations()
    assert len(claim.candidates(free, request("gpu:1"), Weight.PACK, 9)) == 1

"""Consumers as requests."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from tests.unit.allocation.placement.build import A


def test_what_is_left_of_a_consumer() -> None:
    of = {"1": {"X": 1}, "2": {"X": 1}}
    left = {"2": of["2"]}
    found = Consumer(A, 3, "p", "gpu:2", "INSTANCE", of)
    assert found.request_body(left) == {
        "allocations": {"2": {"resources": of["2"]}},
        "project_id": "p",
        "user_id": "gpu:2",
        "consumer_generation": 3,
        "consumer_type": "INSTANCE",
    }
    old = dataclasses.replace(found, type=None)
    assert "consumer_type" not in old.request_body({})

"""Which hosts a claim tries, in which order."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation.placement import claim
from gpu_passthrough_plugin.model.allocation import Weight
from tests.unit.allocation.build import request
from tests.unit.allocation.placement.build import found_on


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
    found = claim.candidates(found_on(3, 1, 2, 0), request(text), weight, 100)
    assert list(dict.fromkeys(c.host for c in found)) == hosts

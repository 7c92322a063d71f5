"""Hosts and units, out of what Placement answers."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.allocation.placement import reading
from gpu_passthrough_plugin.allocation.placement.names import STATE_COUNTER
from gpu_passthrough_plugin.allocation.placement.state_counter import Usage
from tests.unit.allocation.placement.build import found_on


def test_what_somebody_bids_for_is_free_and_not_offered() -> None:
    free = found_on(2)
    first, second = free.units
    asked = dataclasses.replace(
        first, usage=Usage(first.counter.reservation, 1)
    )
    busy = dataclasses.replace(free, units=(asked, second))
    assert [u.is_offered for u in busy.units] == [False, True]
    assert [u.is_free for u in busy.units] == [True, True]
    assert busy.without_reservations() == free


def test_a_sum_is_asked_for_one_by_one() -> None:
    def summary(amount: int, gpu: int) -> dict[str, object]:
        classes = {STATE_COUNTER: amount, "CUSTOM_PCI_10DE_1430": gpu}
        return {"resources": {k: {"used": v} for k, v in classes.items()}}

    summaries = {
        "free": summary(0, 0),
        "held": summary(3, 1),
        "both": summary(4, 2),
        "host": {"resources": {"VCPU": {"used": 8}}},
    }
    assert reading.shared_units({"provider_summaries": summaries}) == ["both"]

"""The counts of free primaries lead a claim to every host that fits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation import capacity, choice
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import Unit
from tests.property.test_allocation_choice import hosts, requests
from tests.unit.allocation.build import free


def is_looked_at(request: Request, units: list[Unit]) -> bool:
    """Whether a claim would look at a host with these free units."""
    models = capacity.device_models(units)
    host_filter = capacity.host_filter(request, models)
    if host_filter is None:
        return False
    counted = capacity.count_free(units)
    for matching, number in host_filter.others:
        anywhere = [
            counted.get((model, capacity.Place.ANYWHERE), 0)
            for model in matching
        ]
        if sum(anywhere) < number:
            return False
    return any(
        counted.get((threshold.model, threshold.place), 0) >= threshold.number
        for threshold in host_filter.thresholds
    )


@settings(max_examples=400)
@given(hosts(), requests())
def test_no_host_that_fits_is_passed_over(
    units: list[Unit], request: Request
) -> None:
    if choice.candidates(request, free(units), limit=1):
        assert is_looked_at(request, units)


@given(hosts(), st.data())
def test_what_is_taken_is_missing(
    units: list[Unit], data: st.DataObject
) -> None:
    left = data.draw(st.lists(st.sampled_from(units), unique=True))
    before = capacity.count_free(units, units)
    after = capacity.count_free(left, units)
    assert before.keys() == after.keys()
    assert all(0 <= after[key] <= before[key] for key in before)
    for (model, place), number in after.items():
        nodes = [
            free
            for (other, node), free in after.items()
            if other == model and node >= capacity.Place.NO_NODE
        ]
        if place == capacity.Place.ANYWHERE:
            assert number == sum(nodes)
        if place == capacity.Place.ONE_NODE:
            assert number == max(nodes)

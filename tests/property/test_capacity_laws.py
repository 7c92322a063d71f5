"""What hosts supply sends a claim to every host that has what it asks for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin.allocation import capacity, choice
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import Unit
from tests.property.test_allocation_choice import hosts, requests
from tests.unit.allocation.build import free


def is_looked_at(request: Request, units: list[Unit]) -> bool:
    """Whether a host with these free units stands in some page."""
    wanted = capacity.wanted(request, capacity.cards(units))
    if wanted is None:
        return False
    counted = capacity.count(units)
    for cards, number in wanted.others:
        anywhere = (
            counted.get((c, capacity.Place.ANYWHERE), 0) for c in cards
        )
        if sum(anywhere) < number:
            return False
    return any(
        counted.get((card, need.place), 0)
        >= -(-need.number // len(wanted.cards))
        for need in wanted.needs
        for card in wanted.cards
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
    before = capacity.count(units, units)
    after = capacity.count(left, units)
    assert before.keys() == after.keys()
    assert all(0 <= after[key] <= before[key] for key in before)
    for (card, place), number in after.items():
        nodes = [
            free
            for (other, node), free in after.items()
            if other == card and node >= capacity.Place.NO_NODE
        ]
        if place == capacity.Place.ANYWHERE:
            assert number == sum(nodes)
        if place == capacity.Place.ONE_NODE:
            assert number == max(nodes)

"""What every ledger checks."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import validation
from gpu_passthrough_plugin.allocation.inventory import Publication
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import TRANSITIONS, State, UnitRecord
from tests.unit.allocation.build import unit

CONSUMER = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


def record(state: State, bus: int = 1) -> UnitRecord:
    return UnitRecord(unit(bus), state, None, 1, False, "")


@pytest.mark.parametrize("text", [CONSUMER, CONSUMER.upper()])
def test_a_uuid_is_stored_in_lower_case(text: str) -> None:
    assert validation.consumer_uuid(text) == CONSUMER


@pytest.mark.parametrize("text", ["", "x", "123", f"{CONSUMER}x"])
def test_what_is_not_a_uuid(text: str) -> None:
    with pytest.raises(errors.Invalid, match=repr(text)):
        validation.consumer_uuid(text)


@pytest.mark.parametrize(
    ("stored", "machine", "replaces", "is_refused"),
    [
        ("", "first", False, False),
        ("first", "first", False, False),
        ("first", "", False, False),
        ("first", "second", False, True),
        ("first", "second", True, False),
    ],
)
def test_a_name_is_one_machines(
    stored: str, machine: str, replaces: bool, is_refused: bool
) -> None:
    publication = Publication("h", (), frozenset(), machine, replaces)
    if not is_refused:
        validation.require_same_machine(stored, publication)
        return
    with pytest.raises(errors.Refused, match="host h"):
        validation.require_same_machine(stored, publication)


@pytest.mark.parametrize(
    ("before", "after"), list(itertools.product(State, State))
)
def test_edges(before: State, after: State) -> None:
    is_claim = (before, after) == (State.FREE, State.CLAIMED)
    if after in TRANSITIONS[before] and not is_claim:
        validation.require_edge(record(before), after)
        return
    with pytest.raises(errors.Refused, match=r"h/0000:01:00\.0"):
        validation.require_edge(record(before), after)


def test_a_consumer_keeps_its_units() -> None:
    held = Allocation(
        CONSUMER, "h", "gpu:1", (record(State.ACTIVE), record(State.ACTIVE, 2))
    )
    first, second = (r.unit.key for r in held.units)
    validation.require_same_units(held, [second, first])
    with pytest.raises(errors.Refused, match=CONSUMER):
        validation.require_same_units(held, [first])


def test_given_units_that_cannot_be_claimed() -> None:
    free, active = record(State.FREE), record(State.ACTIVE, 2)
    missing = dataclasses.replace(record(State.FREE, 3), is_missing=True)
    validation.require_claimable([free.unit.key], [free])
    for other in (active, missing):
        keys = [free.unit.key, other.unit.key]
        with pytest.raises(errors.Conflict, match=str(other.unit.key)):
            validation.require_claimable(keys, [free, other])
        with pytest.raises(errors.Refused, match=str(other.unit.key)):
            validation.require_claimable(keys, [free])

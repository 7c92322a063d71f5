from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    TRANSITIONS,
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)

CARD = UnitFunction(
    Address(0, 6, 0, 0), 0x10DE, 0xFBA, 0x030000, DeviceType.PCI, True
)
AUDIO = UnitFunction(
    Address(0, 6, 0, 1), 0x10DE, 0x0BEE, 0x040300, DeviceType.PCI, False
)
UNIT = Unit(UnitKey("h", CARD.address), 18, (CARD, AUDIO), 0, 0, None)
CONSUMER = "aaaaaaaa-0000-4000-8000-000000000001"


def test_primaries() -> None:
    assert UNIT.primaries == (CARD,)


def test_resource_class() -> None:
    # Upper case and four digits each, as Nova names it.
    assert UNIT.resource_class == "CUSTOM_PCI_10DE_0FBA"


def test_keys_sort_by_host_and_address() -> None:
    high = UnitKey("a", Address(0x10000, 0, 0, 0))
    keys = [UnitKey("b", CARD.address), high, UnitKey("a", CARD.address)]
    assert sorted(keys) == [keys[2], high, keys[0]]
    assert str(high) == "a/10000:00:00.0"


def test_every_state_leads_back_to_free() -> None:
    assert set(TRANSITIONS) == set(State)
    for state in State:
        reached = {state}
        while True:
            more = {
                s for state in reached for s in TRANSITIONS[state]
            } - reached
            if not more:
                break
            reached |= more
        assert reached == set(State)


def test_a_used_unit_is_sanitised_before_it_is_free() -> None:
    leads_to_free = {s for s in State if State.FREE in TRANSITIONS[s]}
    assert leads_to_free == {
        State.CLAIMED,
        State.SANITISING,
        State.QUARANTINED,
    }


def test_only_a_free_or_clean_unit_is_claimed() -> None:
    assert {s for s in State if State.CLAIMED in TRANSITIONS[s]} == {
        State.FREE,
        State.SANITISING,
    }


@pytest.mark.parametrize("state", State)
def test_a_record_after_a_move(state: State) -> None:
    record = UnitRecord(UNIT, State.CLAIMED, CONSUMER, 2, True, "")
    moved = record.moved(state, 7, "hot")
    assert (moved.unit, moved.state) == (record.unit, state)
    assert (moved.generation, moved.is_missing) == (7, True)
    is_held = state not in (State.FREE, State.QUARANTINED)
    assert (moved.consumer is not None) == is_held
    assert moved.reason == ("hot" if state is State.QUARANTINED else "")

"""What publishing does to each unit, by the state that it is in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import GPU, NIC, function, unit

HELD = [s for s in State if s not in (State.FREE, State.QUARANTINED)]
CONSUMER = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


def record(
    published: Unit, state: State = State.FREE, *, is_missing: bool = False
) -> UnitRecord:
    return UnitRecord(
        unit=published,
        state=state,
        consumer=CONSUMER if state in HELD else None,
        generation=7,
        is_missing=is_missing,
        reason="dead" if state is State.QUARANTINED else "",
    )


def after(before: UnitRecord, *shown: Unit) -> UnitRecord | None:
    """What becomes of one record when its host shows these units."""
    plan = inventory.plan([before], shown)
    if plan.removed:
        return None
    return plan.changed[0].after if plan.changed else before


def test_a_new_unit_is_added() -> None:
    plan = inventory.plan([], [unit(2), unit(1)])
    assert plan.added == (unit(1), unit(2))
    assert not plan.is_empty


@pytest.mark.parametrize(
    ("addresses", "state"),
    [
        # Whose record it was cannot be told.
        ({"zz"}, State.QUARANTINED),
        ({"0000:01:00.0", "zz"}, State.QUARANTINED),
        ({"0000:99:00.0"}, State.FREE),
    ],
)
def test_a_unit_whose_record_was_malformed(
    addresses: set[str], state: State
) -> None:
    malformed = MalformedUnit("h", "12", "zz", "address 'zz' is not valid")
    new = inventory.new_record(unit(1), 5, [(malformed, addresses)])
    assert (new.state, new.generation) == (state, 5)
    assert ("address 'zz'" in new.reason) is (state is not State.FREE)


@pytest.mark.parametrize("state", State)
def test_what_is_as_it_was_is_left_alone(state: State) -> None:
    before = record(unit(1), state)
    assert inventory.plan([before], [unit(1)]).is_empty


@pytest.mark.parametrize("state", State)
def test_what_may_change_is_followed(state: State) -> None:
    shown = unit(1, group=99, node=1, socket=1, switch=3, traits="A B")
    changed = after(record(unit(1), state), shown)
    expected = dataclasses.replace(record(shown, state), generation=8)
    assert changed == expected


def test_a_free_unit_that_vanished_goes() -> None:
    assert after(record(unit(1))) is None


@pytest.mark.parametrize("state", [*HELD, State.QUARANTINED])
def test_any_other_is_marked_missing(state: State) -> None:
    before = record(unit(1), state)
    plan = inventory.plan([before], [])
    assert plan.missing == (unit(1),)
    changed = plan.changed[0].after
    assert changed == dataclasses.replace(
        before, generation=8, is_missing=True
    )
    # And once only.
    assert inventory.plan([changed], []).is_empty


@pytest.mark.parametrize("state", State)
def test_what_is_back_is_not_missing(state: State) -> None:
    changed = after(record(unit(1), state, is_missing=True), unit(1))
    assert changed is not None
    assert (changed.state, changed.is_missing) == (state, False)


def test_a_missing_unit_goes_once_it_is_free() -> None:
    assert after(record(unit(1), State.FREE, is_missing=True)) is None


def test_a_stranger_in_a_free_unit_is_quarantined() -> None:
    changed = after(record(unit(1)), unit(1, NIC))
    assert changed is not None
    assert changed.state is State.QUARANTINED
    assert changed.unit == unit(1, NIC)
    for datum in ("0000:01:00.0", "10de:1430", "10de:1017"):
        assert datum in changed.reason


def test_a_quarantined_unit_keeps_its_reason() -> None:
    changed = after(record(unit(1), State.QUARANTINED), unit(1, NIC))
    assert changed is not None
    assert (changed.unit, changed.reason) == (unit(1, NIC), "dead")


@pytest.mark.parametrize("state", HELD)
@pytest.mark.parametrize("shown", [unit(1, NIC), unit(1, GPU, GPU)])
def test_a_held_unit_stays_what_was_handed_out(
    state: State, shown: Unit
) -> None:
    changed = after(record(unit(1), state), shown)
    assert changed is not None
    assert (changed.unit, changed.is_missing) == (unit(1), True)
    assert changed.consumer == CONSUMER


def test_a_free_unit_may_grow() -> None:
    changed = after(record(unit(1)), unit(1, GPU, GPU))
    assert changed == dataclasses.replace(
        record(unit(1, GPU, GPU)), generation=8
    )


def renamed(published: Unit) -> Unit:
    """The same functions under another name: the audio is the primary."""
    key = UnitKey("h", Address(0, published.key.address.bus, 0, 1))
    swapped = (
        dataclasses.replace(f, is_primary=not f.is_primary)
        for f in published.functions
    )
    return dataclasses.replace(published, key=key, functions=tuple(swapped))


def test_a_free_unit_under_another_name_is_another() -> None:
    plan = inventory.plan([record(unit(1))], [renamed(unit(1))])
    assert [r.unit for r in plan.removed] == [unit(1)]
    assert plan.added == (renamed(unit(1)),)


@pytest.mark.parametrize("state", [*HELD, State.QUARANTINED])
def test_a_held_function_is_not_offered_under_another_name(
    state: State,
) -> None:
    plan = inventory.plan([record(unit(1), state)], [renamed(unit(1))])
    assert plan.withheld == (renamed(unit(1)),)
    assert plan.added == ()
    assert plan.missing == (unit(1),)


def test_a_free_unit_that_swallowed_a_held_one_goes() -> None:
    # Units 1 and 2 have become one group, and 2 is held.
    both = dataclasses.replace(
        unit(1), functions=unit(1).functions + unit(2).functions
    )
    records = [record(unit(1)), record(unit(2), State.ACTIVE)]
    plan = inventory.plan(records, [both])
    assert plan.withheld == (both,)
    assert [r.unit for r in plan.removed] == [unit(1)]
    assert plan.missing == (unit(2),)


def test_what_a_withheld_unit_keeps_is_withheld_from_others() -> None:
    # 3 is held; quarantined 1 has become one with it, and stays what it
    # was; what was its second slot is shown as unit 4's.
    quarantined = record(unit(1, GPU, GPU), State.QUARANTINED)
    merged = dataclasses.replace(
        unit(1), functions=unit(1).functions + unit(3).functions
    )
    lost = unit(1, GPU, GPU).functions[2:]
    heir = dataclasses.replace(unit(4), functions=(*lost, *unit(4).functions))
    records = [quarantined, record(unit(3), State.ACTIVE)]
    plan = inventory.plan(records, [merged, heir])
    assert plan.withheld == (merged, heir)
    assert plan.added == ()


def test_what_a_plan_reports() -> None:
    records = [record(unit(1)), record(unit(2), State.ACTIVE)]
    report = inventory.plan(records, [unit(3), renamed(unit(2))]).report(4)
    assert (report.added, report.removed) == ((unit(3),), (unit(1),))
    assert report.changed == report.missing == (unit(2),)
    assert [u.functions for u in report.withheld] == [
        renamed(unit(2)).functions
    ]
    assert report.generation == 4


def test_functions_move_between_free_units() -> None:
    records = [record(unit(1, GPU, GPU)), record(unit(2))]
    moved = unit(1, GPU, GPU).functions[2:]
    heir = dataclasses.replace(unit(2), functions=moved + unit(2).functions)
    plan = inventory.plan(records, [unit(1), heir])
    assert [c.after.unit for c in plan.changed] == [unit(1), heir]
    assert plan.withheld == ()


def test_check_tells_everything_that_is_wrong() -> None:
    bare = dataclasses.replace(
        unit(3),
        functions=(function(Address(0, 3, 0, 0), GPU, is_primary=False),),
    )
    units = [unit(1, host="other"), unit(2), renamed(unit(2)), bare]
    with pytest.raises(errors.Faults) as caught:
        inventory.require_consistent("h", units)
    faults = caught.value.faults
    assert [fault.split()[:2] for fault in faults] == [
        ["unit", "other/0000:01:00.0"],
        ["unit", "h/0000:03:00.0"],
        ["function", "h/0000:02:00.0"],
        ["function", "h/0000:02:00.1"],
    ]
    (quarantined,) = inventory.plan([record(unit(1))], [unit(1, NIC)]).changed
    messages = {
        "faults": faults,
        "quarantined": quarantined.after.reason,
    }
    path = Path(__file__).with_name("inventory_messages.txt")
    assert_golden(path, sections(messages))


def test_check_accepts_what_is_right() -> None:
    inventory.require_consistent("h", [unit(1), unit(2, GPU, GPU)])

"""The ledger on each database: publish, claim, move, quarantine."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord
from tests.unit.allocation.build import GPU, NIC, request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
RELEASE = (
    State.PREPARING,
    State.RELEASING,
    State.SANITISING,
)


pytest_plugins = ("tests.functional.servers.fixtures",)


def moved(
    ledger: LedgerDriver, record: UnitRecord, *states: State
) -> UnitRecord:
    for state in states:
        record = ledger.move(record, state)
    return record


def test_what_was_published_is_read(ledger: SqlLedger) -> None:
    units = [
        unit(2, GPU, NIC, node=1, socket=1, switch=4),
        unit(1, node=None),
        unit(1, host="g"),
    ]
    assert ledger.publish("h", units[:2]).added == (units[1], units[0])
    ledger.publish("g", units[2:])
    assert [r.unit for r in ledger.records()] == [units[2], units[1], units[0]]
    assert [r.unit for r in ledger.records(host="g")] == [units[2]]
    assert ledger.records(host="nowhere") == ()
    assert {r.state for r in ledger.records()} == {State.FREE}


def test_units_stand_by_address_beyond_domain_ffff(
    ledger: SqlLedger,
) -> None:
    def in_domain(domain: int) -> Address:
        return Address(domain, 1, 0, 0)

    units = [
        dataclasses.replace(
            unit(1),
            key=UnitKey("h", in_domain(domain)),
            functions=(
                dataclasses.replace(
                    unit(1).functions[0], address=in_domain(domain)
                ),
            ),
        )
        for domain in (2, 0x10000)
    ]
    ledger.publish("h", units)
    assert [r.unit for r in ledger.records()] == units


def test_the_hosts_generation_changes_with_its_inventory(
    ledger: SqlLedger,
) -> None:
    assert ledger.publish("h", []).generation == 0
    assert ledger.publish("h", [unit(1)]).generation == 1
    again = ledger.publish("h", [unit(1)])
    assert (again.generation, again.added, again.changed) == (1, (), ())
    changed = ledger.publish("h", [unit(1, node=1)])
    assert (changed.generation, changed.changed) == (2, (unit(1, node=1),))
    gone = ledger.publish("h", [])
    assert (gone.generation, gone.removed) == (3, (unit(1, node=1),))
    assert ledger.records() == ()


def test_publishing_what_cannot_be_changes_nothing(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    with pytest.raises(errors.Faults):
        ledger.publish("h", [unit(2), unit(2)])
    assert [r.unit for r in ledger.records()] == [unit(1)]


def test_a_held_unit_that_vanished_stays(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    assert ledger.publish("h", []).missing == (unit(1),)
    (missing,) = ledger.allocation(A).units
    assert (missing.is_missing, missing.consumer) == (True, A)
    with pytest.raises(errors.Conflict):
        ledger.move(record, State.FREE)
    ledger.move(missing, State.FREE)
    # Free, and still not offered: no host shows it.
    assert ledger.candidates(request("gpu:1")) == ()
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    assert ledger.publish("h", []).removed == (unit(1),)


def test_a_unit_ends_beside_one_that_vanished(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    stays, vanishes = ledger.claim(request("gpu:2"), A).units
    assert ledger.publish("h", [unit(1)]).missing == (unit(2),)
    ledger.move(stays, State.FREE)
    (held,) = ledger.allocation(A).units
    assert held.unit == vanishes.unit
    ledger.move(held, State.FREE)
    assert ledger.allocations() == ()


def test_a_held_function_is_not_offered_under_another_name(
    ledger: SqlLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    audio = Address(0, 1, 0, 1)
    renamed = dataclasses.replace(
        unit(1),
        key=UnitKey("h", audio),
        functions=(
            dataclasses.replace(unit(1).functions[1], is_primary=True),
        ),
    )
    assert ledger.publish("h", [renamed]).withheld == (renamed,)
    ledger.move(ledger.unit(record.unit.key), State.FREE)
    report = ledger.publish("h", [renamed])
    assert (report.added, report.removed) == ((renamed,), (unit(1),))


def test_a_claim_and_what_it_holds(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3, NIC)])
    held = ledger.claim(request("gpu:1,nic:1"), A.upper())
    assert (held.consumer, held.host) == (A, "h")
    assert held.request == "gpu:1,nic:1"
    assert [r.unit for r in held.units] == [unit(1), unit(3, NIC)]
    assert {r.state for r in held.units} == {State.CLAIMED}
    assert ledger.allocation(A) == held
    assert ledger.allocation(A.upper()) == held
    assert ledger.allocations() == (held,)
    other = ledger.claim(request("gpu:1"), B)
    assert ledger.allocations() == (held, other)
    assert ledger.records(states=[State.FREE]) == ()
    assert ledger.records(states=[State.CLAIMED]) == (
        held.units[0],
        other.units[0],
        held.units[1],
    )


def test_candidates_are_what_a_claim_takes(ledger: SqlLedger) -> None:
    ledger.publish("a", [unit(1, GPU, GPU, host="a")])
    ledger.publish("b", [unit(1, host="b")])
    candidates = ledger.candidates(request("gpu:1"))
    assert [c.host for c in candidates] == ["b", "a"]
    assert [c.host for c in ledger.candidates(request("gpu:1"), limit=1)] == [
        "b"
    ]
    assert [c.host for c in ledger.candidates(request("gpu:1"), host="a")] == [
        "a"
    ]
    assert ledger.claim(request("gpu:1"), A).host == "b"
    assert ledger.claim(request("gpu:1"), B, host="a").host == "a"


def test_a_claim_that_does_not_fit_changes_nothing(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    before = ledger.records()
    with pytest.raises(
        errors.NoValidHost, match=r"gpu:3: 2 units have these ids: 2 free"
    ):
        ledger.claim(request("gpu:3"), A)
    with pytest.raises(errors.NoValidHost, match="no host g"):
        ledger.claim(request("gpu:1"), A, host="g")
    assert ledger.records() == before
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(A)


def test_a_repeated_claim_gives_what_is_held(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1), unit(2, NIC), unit(3)])
    held = ledger.claim(request("gpu:1,nic:1"), A)
    assert ledger.claim(request("gpu:1,nic:1"), A) == held
    assert ledger.claim(request("nic:1,gpu:1"), A.upper(), host="h") == held
    moved(ledger, held.units[0], State.PREPARING)
    again = ledger.claim(request("gpu:1,nic:1"), A)
    assert again.states == (State.CLAIMED, State.PREPARING)


def test_a_claim_of_which_a_part_was_freed_is_refused(
    ledger: LedgerDriver,
) -> None:
    """Neither told as whole, nor made whole by freeing the rest."""
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    held = ledger.claim(request("gpu:2"), A)
    ledger.move(held.units[0], State.FREE)
    with pytest.raises(errors.Refused, match=f"{A} already holds only a part"):
        ledger.claim(request("gpu:2"), A)
    assert ledger.allocation(A).units == held.units[1:]
    ledger.move(held.units[1], State.FREE)
    assert len(ledger.claim(request("gpu:2"), A).units) == 2


@pytest.mark.parametrize(
    ("text", "nodes", "host"),
    [("gpu:2", (), None), ("gpu:1", (0,), None), ("gpu:1", (), "g")],
)
def test_a_consumer_claims_once(
    ledger: SqlLedger, text: str, nodes: tuple[int, ...], host: str | None
) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    held = ledger.claim(request("gpu:1"), A)
    with pytest.raises(
        errors.Refused, match=f"{A} already holds gpu:1 on host h"
    ):
        ledger.claim(request(text, *nodes), A, host=host)
    assert ledger.allocations() == (held,)


@pytest.mark.parametrize("text", ["", "x", "123", f"{A}x"])
def test_a_consumer_is_a_uuid(ledger: SqlLedger, text: str) -> None:
    with pytest.raises(errors.Invalid, match="UUID"):
        ledger.claim(request("gpu:1"), text)
    with pytest.raises(errors.Invalid, match="UUID"):
        ledger.allocation(text)


def test_a_life_leaves_no_trace(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    held = ledger.claim(request("gpu:2"), A)
    first, second = (moved(ledger, r, *RELEASE) for r in held.units)
    freed = ledger.move(first, State.FREE)
    assert freed == ledger.unit(first.unit.key)
    assert (freed.state, freed.consumer) == (State.FREE, None)
    # The other unit is still held.
    assert [r.unit for r in ledger.allocation(A).units] == [second.unit]
    ledger.move(second, State.FREE)
    assert ledger.allocations() == ()
    assert ledger.claim(request("gpu:2"), B).consumer == B


def test_a_move_is_what_the_ledger_says_then(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    for state in RELEASE:
        record = ledger.move(record, state, reason="not kept")
        assert record == ledger.unit(record.unit.key)


def test_a_unit_whose_boot_failed_is_claimed_still(
    ledger: SqlLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    held = ledger.claim(request("gpu:1"), A)
    record = moved(ledger, held.units[0], *RELEASE, State.CLAIMED)
    assert ledger.allocation(A).units == (record,)
    assert (record.state, record.consumer) == (State.CLAIMED, A)


def test_an_older_record_moves_nothing(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ledger.move(record, State.PREPARING)
    with pytest.raises(
        errors.Conflict,
        match="preparing at generation 3, no longer claimed at generation 2",
    ):
        ledger.move(record, State.FREE)
    assert ledger.allocation(A).states == (State.PREPARING,)


def test_moves_that_no_edge_allows(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.records()
    with pytest.raises(errors.Refused, match=r"0000:01:00\.0.* claim"):
        ledger.move(record, State.CLAIMED)
    with pytest.raises(
        errors.Refused,
        match="cannot become active; possible: claimed, quarantined",
    ):
        ledger.move(record, State.ACTIVE)
    ledger.publish("h", [])
    with pytest.raises(errors.Refused, match=r"no unit h/0000:01:00\.0"):
        ledger.move(record, State.QUARANTINED, reason="x")
    assert ledger.records() == ()


def test_a_record_of_another_life_moves_nothing(ledger: LedgerDriver) -> None:
    """A unit that went, came back, and is at the same point of its life."""
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ledger.move(record, State.FREE)
    ledger.publish("h", [])
    ledger.publish("h", [unit(1)])
    (again,) = ledger.claim(request("gpu:1"), B).units
    assert again.generation > record.generation
    with pytest.raises(errors.Conflict):
        ledger.move(record, State.PREPARING)
    assert ledger.allocation(B).units == (again,)


def test_the_operators_hand(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.records()
    locked = ledger.move(record, State.QUARANTINED, reason="fan is loud")
    assert locked == ledger.unit(record.unit.key)
    assert (locked.state, locked.reason) == (State.QUARANTINED, "fan is loud")
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)
    other = ledger.move(locked, State.QUARANTINED, reason="and hot")
    assert ledger.unit(record.unit.key).reason == "and hot"
    with pytest.raises(errors.Conflict):
        ledger.move(locked, State.FREE)
    ledger.publish("h", [unit(1)])
    clear = ledger.move(other, State.FREE)
    assert (clear.state, clear.reason) == (State.FREE, "")
    assert ledger.claim(request("gpu:1"), A).units[0].unit == unit(1)


def test_quarantine_ends_the_consumers_hold(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)])
    held = ledger.claim(request("gpu:1"), A)
    record = moved(ledger, held.units[0], *RELEASE)
    dead = ledger.move(record, State.QUARANTINED, reason="reads ff")
    assert dead.consumer is None
    assert ledger.allocations() == ()
    assert ledger.unit(dead.unit.key) == dead


def test_a_hold_ends_even_where_the_record_does_not_name_it(
    ledger: SqlLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ledger.move(dataclasses.replace(record, consumer=None), State.FREE)
    assert ledger.allocations() == ()
    assert ledger.claim(request("gpu:1"), B).consumer == B


def test_no_such_unit(ledger: SqlLedger) -> None:
    with pytest.raises(errors.Refused, match=r"no unit h/0000:09:00\.0"):
        ledger.unit(UnitKey("h", Address(0, 9, 0, 0)))

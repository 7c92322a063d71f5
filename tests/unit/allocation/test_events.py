"""Which transitions each change leaves, and a driver that keeps none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import events, inventory
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.events import HostEvents
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model import event as model
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    HostRecord,
    MalformedUnit,
    SyncReport,
)
from gpu_passthrough_plugin.model.event import (
    Actor,
    Event,
    EventListing,
    EventQuery,
    Transition,
)
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord
from tests.unit.allocation.build import NIC, request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
ALICE = Actor("instance boot", "h", "alice", 1000)


def record(
    bus: int,
    state: State = State.FREE,
    *,
    published: Unit | None = None,
    is_missing: bool = False,
) -> UnitRecord:
    consumer = A if state.is_held else None
    return UnitRecord(
        published or unit(bus), state, consumer, 4, is_missing, ""
    )


def steps(transitions: Sequence[Transition]) -> list[tuple[str, str, str]]:
    return [(t.address[5:7], t.before, t.after) for t in transitions]


def test_a_move_has_the_consumer_that_it_ends() -> None:
    before = record(1, State.SANITISING)
    after = before.moved(State.FREE, 5)
    assert after.consumer is None
    assert events.moved(before, after, "guest ended") == Transition(
        "h", "0000:01:00.0", "sanitising", "free", 5, A, "guest ended"
    )


def test_a_claim_that_is_repeated_leaves_nothing_of_units_that_moved() -> None:
    units = (record(1, State.CLAIMED), record(2, State.ACTIVE))
    (transition,) = events.claimed(Allocation(A, "h", "gpu:2", units))
    assert transition == Transition(
        "h", "0000:01:00.0", "free", "claimed", 4, A, "gpu:2"
    )


def test_a_publication() -> None:
    records = [
        record(1),
        record(2, State.ACTIVE),
        record(3, State.ACTIVE, is_missing=True),
        record(4, State.QUARANTINED),
        record(5),
        record(6),
    ]
    plan = inventory.plan(
        records,
        # 1 and 2 are gone, 3 is back, 4 is the same on another node, 5 is
        # another device, 6 did not change, and 7 is new.
        [unit(3), unit(4, node=1), unit(5, NIC), unit(6), unit(7)],
    )
    new = inventory.new_record(unit(7), 9, [])
    malformed = MalformedUnit("h", "12", "zz", "address 'zz' is not valid")
    transitions = events.published(plan, [new], [malformed])
    assert steps(transitions) == [
        ("", "malformed", "absent"),
        ("01", "free", "absent"),
        ("02", "active", "active"),
        ("03", "active", "active"),
        ("05", "free", "quarantined"),
        ("07", "absent", "free"),
    ]
    assert "address 'zz'" in transitions[0].reason
    assert (transitions[2].consumer, transitions[2].generation) == (A, 5)
    assert "changed from 10de:1430" in transitions[4].reason
    assert transitions[5].generation == 9
    report = plan.report(3, transitions)
    assert events.reported(report) == transitions


def test_a_report_of_a_driver_that_says_less() -> None:
    report = SyncReport((unit(1),), (unit(2),), (unit(3),), (unit(2),), 7)
    assert steps(events.reported(report)) == [
        ("03", "free", "absent"),
        ("02", "", ""),
        ("01", "absent", "free"),
    ]


def host(reason: str | None) -> HostRecord:
    is_cordoned = reason is not None
    return HostRecord("h", 3, is_cordoned, reason or "", frozenset())


@pytest.mark.parametrize(
    ("now", "was_cordoned", "old_reason", "expected"),
    [
        ("roof", False, "", ("offered", "cordoned", "roof")),
        ("roof", True, "rain", ("cordoned", "cordoned", "roof")),
        ("roof", None, "", ("", "cordoned", "roof")),
        (None, True, "rain", ("cordoned", "offered", "")),
    ],
)
def test_a_cordon(
    now: str | None,
    was_cordoned: bool | None,
    old_reason: str,
    expected: tuple[str, str, str],
) -> None:
    (transition,) = events.cordoned(host(now), was_cordoned, old_reason)
    assert (transition.host, transition.address) == ("h", "")
    assert (
        transition.before,
        transition.after,
        transition.reason,
    ) == expected


def test_a_cordon_that_changes_nothing_leaves_nothing() -> None:
    assert events.cordoned(host("rain"), True, "rain") == ()
    assert events.cordoned(host(None), False) == ()


class Log:
    """A log in memory, which may fail."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.error = ""

    def append(self, events: Sequence[Event]) -> None:
        if self.error:
            raise errors.Unavailable(self.error)
        self.events += events

    def read(self, query: EventQuery) -> EventListing:
        return EventListing(model.select(self.events, query)[0])


class Plain(SqlLedger):
    """Stands for a driver of a third party, which keeps no events."""

    keeps_events = False


@pytest.fixture
def plain() -> tuple[Plain, Log]:
    log = Log()
    settings = LedgerSettings("sqlite://", actor=ALICE, event_log=log)
    ledger = Plain(settings)
    ledger.sync()
    HostEvents(ledger, settings, log).attach()
    return ledger, log


def test_a_driver_that_keeps_none_has_the_host_keep_them(
    plain: tuple[Plain, Log],
) -> None:
    ledger, _ = plain
    ledger.publish("h", [unit(1)])
    ledger.publish("h", [unit(1)])
    ledger.name_consumer(A, "web")
    ledger.claim(request("gpu:1"), A)
    (held,) = ledger.claim(request("gpu:1"), A).units
    free = ledger.move(held, state=State.FREE)
    with pytest.raises(errors.Conflict):
        ledger.move(held, State.FREE)
    ledger.move(free, State.QUARANTINED, reason="loud")
    ledger.cordon("h", "roof")
    ledger.uncordon("h")
    listed = ledger.events(EventQuery()).events
    assert [
        (e.transition.before, e.transition.after, e.consumer_name)
        for e in listed
    ] == [
        ("absent", "free", ""),
        ("free", "claimed", "web"),
        ("claimed", "free", "web"),
        ("free", "quarantined", ""),
        ("", "cordoned", ""),
        ("", "offered", ""),
    ]
    assert {e.actor for e in listed} == {ALICE}


def test_a_change_is_not_undone_for_its_event(
    plain: tuple[Plain, Log], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, log = plain
    log.error = "/nowhere/events.jsonl: No space left on device"
    ledger.publish("h", [unit(1)])
    assert [r.state for r in ledger.records()] == [State.FREE]
    (line,) = [
        r.getMessage() for r in caplog.records if r.levelname == "WARNING"
    ]
    assert "h/0000:01:00.0 free" in line
    assert log.error in line


def test_a_driver_without_events_says_so() -> None:
    ledger = Plain(LedgerSettings("sqlite://"))
    with pytest.raises(errors.Refused, match="keeps no events"):
        super(SqlLedger, ledger).events(EventQuery())


def test_settings_have_no_actor_by_default() -> None:
    settings = LedgerSettings("sqlite://")
    stamped = events.stamped(
        [Transition("h", "", "", "offered", 0)], Plain(settings), settings
    )
    assert [dataclasses.astuple(e.actor) for e in stamped] == [
        ("", "", "", None)
    ]

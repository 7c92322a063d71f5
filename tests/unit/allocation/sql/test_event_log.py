"""Events in the database: with their change or not at all, and bounded."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import event_log, schema
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.allocation.sql.move import Move
from gpu_passthrough_plugin.model import event as model
from gpu_passthrough_plugin.model.event import (
    Actor,
    Event,
    EventQuery,
    Retention,
)
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
EVERYTHING = EventQuery()
DAY_US = 86_400_000_000


def settings(days: int = 0, number: int = 0) -> LedgerSettings:
    return LedgerSettings(
        "sqlite://",
        {"db_retry_interval": 0},
        actor=Actor("unit clear", "h", "alice", 1000),
        retention=Retention(days, number),
    )


@pytest.fixture
def ledger() -> Iterator[SqlLedger]:
    opened = SqlLedger(settings())
    opened.sync()
    opened.publish("h", [unit(1), unit(2)])
    yield opened
    opened.close()


def listed(ledger: SqlLedger, query: EventQuery = EVERYTHING) -> list[Event]:
    listing = ledger.events(query)
    assert listing.malformed == ()
    return list(listing.events)


def test_a_move_whose_answer_was_lost_leaves_one_event(
    ledger: SqlLedger,
) -> None:
    (record, _) = ledger.records()
    move = Move(
        record, State.QUARANTINED, "loud", EventWriter(ledger, settings())
    )
    ledger.database.write(move.attempt)
    move.outcome_unknown()
    ledger.database.write(move.attempt)
    events = listed(ledger, EventQuery("h", "0000:01:00.0"))
    assert [e.transition.after for e in events] == ["free", "quarantined"]


@pytest.mark.parametrize("table", ["event", "unit"])
def test_neither_without_the_other(ledger: SqlLedger, table: str) -> None:
    """A statement after them, or one of them, fails: both are undone."""
    (record, _) = ledger.records()
    before = listed(ledger)
    act = "INSERT" if table == "event" else "UPDATE"
    ledger.database.write(
        lambda c: c.exec_driver_sql(
            f"CREATE TRIGGER t BEFORE {act} ON {table}"
            " BEGIN SELECT RAISE(FAIL, 'no'); END"
        )
    )
    with pytest.raises(errors.Unavailable):
        ledger.move(record, State.QUARANTINED, reason="loud")
    with pytest.raises(errors.Unavailable):
        ledger.claim(request("gpu:1"), A)
    with pytest.raises(errors.Unavailable):
        ledger.claim_units([unit(1).key], A, "x")
    assert ledger.unit(record.unit.key) == record
    assert ledger.allocations() == ()
    assert listed(ledger) == before


def test_a_publication_that_cannot_be_recorded_changes_nothing(
    ledger: SqlLedger,
) -> None:
    ledger.database.write(
        lambda c: c.exec_driver_sql(
            "CREATE TRIGGER t BEFORE INSERT ON event"
            " BEGIN SELECT RAISE(FAIL, 'no'); END"
        )
    )
    with pytest.raises(errors.Unavailable):
        ledger.publish("h", [unit(1), unit(3)])
    with pytest.raises(errors.Unavailable):
        ledger.cordon("h", "roof")
    assert [r.unit for r in ledger.records()] == [unit(1), unit(2)]
    assert [h.is_cordoned for h in ledger.hosts()] == [False]


def fill(ledger: SqlLedger, times_us: list[int]) -> None:
    """Replace the events by some of these times."""
    (event, *_) = listed(ledger)
    with ledger.database.engine.begin() as connection:
        connection.execute(schema.event.delete())
        connection.execute(
            schema.event.insert(),
            [model.fields(event) | {"time_us": t} for t in times_us],
        )


@pytest.mark.parametrize(
    ("days", "number", "kept"),
    [
        (0, 0, [0, 5, 1, 9, 8, 9]),
        (6, 0, [0, 5, 1]),
        (0, 4, [1, 9, 8, 9]),
        (0, 99, [0, 5, 1, 9, 8, 9]),
        (9, 1, [9]),
        (2, 1, []),
    ],
)
def test_what_is_kept(
    ledger: SqlLedger, days: int, number: int, kept: list[int]
) -> None:
    """By age and by number; a clock that jumps removes no more than it."""
    now_us = time.time_ns() // 1000 + DAY_US // 2
    ages = [0, 5, 1, 9, 8, 9]
    fill(ledger, [now_us - age * DAY_US for age in ages])
    writer = EventWriter(ledger, settings(days, number))
    ledger.database.write(writer.prune)
    remaining = [(now_us - e.time_us) // DAY_US for e in listed(ledger)]
    assert remaining == kept


def test_nothing_to_prune(ledger: SqlLedger) -> None:
    fill(ledger, [1])
    with ledger.database.engine.begin() as connection:
        connection.execute(schema.event.delete())
    ledger.database.write(EventWriter(ledger, settings(1, 1)).prune)


def test_some_writers_prune() -> None:
    ledger = SqlLedger(settings(number=10))
    ledger.sync()
    ledger.publish("h", [unit(1)])
    (record,) = ledger.records()
    counts = []
    for number in range(600):
        record = ledger.move(record, State.QUARANTINED, reason=f"{number}")
        counts.append(len(listed(ledger)))
    assert max(counts) <= 10 + event_log._PRUNE_INTERVAL
    assert sum(b < a for a, b in itertools.pairwise(counts)) == 2
    newest = listed(ledger)[-1]
    assert newest.transition.reason == "599"
    ledger.close()


def test_a_failed_pruning_fails_nothing(
    ledger: SqlLedger,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(event_log, "_PRUNE_INTERVAL", 1)
    ledger.database.write(
        lambda c: c.exec_driver_sql(
            "CREATE TRIGGER t BEFORE DELETE ON event"
            " BEGIN SELECT RAISE(FAIL, 'no'); END"
        )
    )
    writer = EventWriter(ledger, settings(number=1))
    ledger._event_writer = writer
    (record, _) = ledger.records()
    ledger.move(record, State.QUARANTINED, reason="loud")
    assert len(listed(ledger)) == 3
    # A role of a node may never remove any: no reason to say it each time.
    assert not [r for r in caplog.records if r.levelname != "DEBUG"]


def test_forged_rows_are_left_out_by_name(ledger: SqlLedger) -> None:
    before = listed(ledger)
    forged: list[dict[str, object]] = [
        {"time_us": -5},
        {"time_us": "noon"},
        {"host": b"\xff"},
        {"reason": "\x1b[2J"},
        {"reason": "x" * 9999},
        {"generation": 2.5},
        {"user_name": "a\nb"},
        {"uid": -1},
    ]
    with ledger.database.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        for values in forged:
            row = connection.execute(
                sa.text(
                    "INSERT INTO event (time_us, host, address, before_state,"
                    " after_state, generation, consumer_name, reason,"
                    " command, command_host, user_name) SELECT time_us, host,"
                    " address, before_state, after_state, generation,"
                    " consumer_name, reason, command, command_host, user_name"
                    " FROM event LIMIT 1"
                )
            )
            connection.execute(
                schema.event.update().where(
                    schema.event.c.id == row.lastrowid
                ),
                values,
            )
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    listing = ledger.events(EVERYTHING)
    assert list(listing.events) == before
    assert len(listing.malformed) == len(forged)
    for line, values in zip(listing.malformed, forged, strict=True):
        (name,) = values
        assert name in line
        assert line.startswith("event ")
        assert len(line) < 300


def test_the_name_of_a_consumer_is_of_any_of_its_events(
    ledger: SqlLedger,
) -> None:
    (held,) = ledger.claim(request("gpu:1"), A).units
    ledger.name_consumer(A, "web")
    ledger.move(held, State.FREE)
    ledger.claim(request("gpu:1"), B)
    of_web = listed(ledger, EventQuery(consumer="web"))
    assert of_web == listed(ledger, EventQuery(consumer=A))
    assert [(e.transition.after, e.consumer_name) for e in of_web] == [
        ("claimed", "web"),
        ("free", "web"),
    ]
    (of_b,) = listed(ledger, EventQuery(consumer=B))
    assert of_b.consumer_name == ""

"""Events as flat values and as lines: bounded, printable, checked."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import event as events
from gpu_passthrough_plugin.model.event import (
    Actor,
    Event,
    EventQuery,
    Retention,
    Transition,
)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
CLAIM = Event(
    1_800_000_000_000_000,
    Transition("h", "0000:01:00.0", "free", "claimed", 2, A, "gpu:1"),
    "guest-a",
    Actor("instance boot", "h", "alice", 1000),
)


def at(
    seconds: int,
    generation: int,
    after: str = "active",
    consumer: str | None = A,
    name: str = "",
) -> Event:
    """Another event of the unit, some seconds later."""
    return dataclasses.replace(
        CLAIM,
        time_us=CLAIM.time_us + seconds * 1_000_000,
        transition=CLAIM.transition._replace(
            generation=generation, after=after, consumer=consumer
        ),
        consumer_name=name,
    )


def test_a_line_is_read_as_it_was_written() -> None:
    nobody = dataclasses.replace(
        CLAIM,
        transition=CLAIM.transition._replace(address="", consumer=None),
        actor=Actor(),
    )
    for event in (CLAIM, nobody):
        text = events.line(event)
        assert text.endswith("}\n")
        assert text.count("\n") == 1
        assert events.from_line(text) == event
    assert (CLAIM.unit, nobody.unit) == ("h/0000:01:00.0", "h")


def test_texts_are_escaped_and_cut() -> None:
    hostile = dataclasses.replace(
        CLAIM,
        transition=CLAIM.transition._replace(
            reason="\x1b[2Jgone\n\x00" + "x" * 5000, address="z" * 99
        ),
        consumer_name="\ud800" + "n" * 999,
        actor=Actor("c" * 999, "h" * 999, "u\t" * 99, 0),
    )
    values = events.fields(hostile)
    assert len(str(values["reason"])) == 1024
    assert len(str(values["address"])) == 16
    assert all(str(value).isprintable() for value in values.values())
    text = events.line(hostile)
    assert len(text.encode()) < events.MAX_LINE_BYTES
    assert events.fields(events.from_line(text)) == values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_us", -1),
        ("time_us", events.MAX_TIME_US + 1),
        ("time_us", True),
        ("time_us", "now"),
        ("generation", None),
        ("uid", -1),
        ("uid", 1.5),
        ("host", None),
        ("host", b"h"),
        ("reason", "x" * 1025),
        ("reason", "a\nb"),
        ("user_name", "\x1b[2J"),
        ("consumer", 7),
        ("before_state", []),
    ],
)
def test_a_malformed_value_is_refused_by_its_name(
    name: str, value: object
) -> None:
    with pytest.raises(errors.Invalid, match=name):
        events.from_fields(events.fields(CLAIM) | {name: value})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"time_us":1}', "[" * 100_000, "null"]
)
def test_a_malformed_line_is_refused(text: str) -> None:
    with pytest.raises(errors.Invalid):
        events.from_line(text)


def test_further_values_are_ignored() -> None:
    values = events.fields(CLAIM) | {"colour": "red"}
    assert events.from_line(json.dumps(values)) == CLAIM


@pytest.mark.parametrize(
    ("query", "generations"),
    [
        (EventQuery(), [2, 3, 4]),
        (EventQuery(host="h"), [2, 3, 4]),
        (EventQuery(host="g"), []),
        (EventQuery(host="h", address="0000:02:00.0"), []),
        (EventQuery(consumer=A), [2, 3]),
        (EventQuery(consumer="guest-a"), [2, 3]),
        (EventQuery(consumer=B), []),
        (EventQuery(since_us=CLAIM.time_us + 1), [3, 4]),
        (EventQuery(limit=2), [3, 4]),
        (EventQuery(limit=3), [2, 3, 4]),
    ],
)
def test_what_matches(query: EventQuery, generations: list[int]) -> None:
    listed = (CLAIM, at(1, 3), at(2, 4, "free", None))
    selected, has_more = events.select(listed, query)
    assert [e.transition.generation for e in selected] == generations
    assert has_more == (query.limit == 2)


def test_a_claim_that_was_repeated_counts_once() -> None:
    repeated = at(1, 2, "claimed")
    later = at(2, 5, "claimed")
    selected, _ = events.select((CLAIM, repeated, later), EventQuery())
    assert [e.time_us for e in selected] == [CLAIM.time_us, later.time_us]


def test_a_consumer_has_the_name_of_its_other_events() -> None:
    selected, _ = events.select(
        (at(0, 2), at(1, 3, name="web"), at(2, 4, consumer=B)), EventQuery()
    )
    assert [e.consumer_name for e in selected] == ["web", "web", ""]


def test_how_old_events_get() -> None:
    now_us = 1_800_000_000_000_000
    day_us = 24 * 60 * 60 * 1_000_000
    assert Retention(days=2).oldest_us(now_us) == now_us - 2 * day_us
    assert Retention(days=0).oldest_us(now_us) == 0
    assert Retention(days=10**9).oldest_us(now_us) == 0


def test_events_of_the_present_state() -> None:
    """From the one that brought the unit there; later ones say why anew."""
    claimed, active = at(0, 2, "claimed"), at(1, 3)
    first, again = at(2, 4, "quarantined"), at(3, 5, "quarantined")
    again = dataclasses.replace(
        again, transition=again.transition._replace(before="quarantined")
    )
    listed = (claimed, active, first, again)
    assert events.of_present_state(listed, "quarantined") == (first, again)
    assert events.of_present_state(listed[:3], "quarantined") == (first,)
    # What is kept begins after it, or the unit moved on since.
    assert events.of_present_state((again,), "quarantined") == ()
    assert events.of_present_state(listed, "free") == ()
    assert events.of_present_state((), "free") == ()

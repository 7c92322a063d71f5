"""The audit record of each ledger: an event for each transition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.event import Actor, Event, EventQuery
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import NIC, request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
ALICE = Actor("instance boot", "h", "alice", 1000)
LIFE = (
    State.PREPARING,
    State.ACTIVE,
    State.RELEASING,
    State.SANITISING,
    State.FREE,
)

pytest_plugins = ("tests.functional.servers.fixtures",)


@pytest.fixture
def recorded(database_url: str) -> Iterator[LedgerDriver]:
    opened = SqlLedger(LedgerSettings(database_url, actor=ALICE))
    opened.sync()
    yield opened
    opened.close()


def events(
    ledger: LedgerDriver, query: EventQuery | None = None
) -> list[Event]:
    listing = ledger.events(query or EventQuery())
    assert listing.malformed == ()
    return list(listing.events)


def steps(listed: list[Event]) -> list[tuple[str, str, str]]:
    return [(e.unit, e.transition.before, e.transition.after) for e in listed]


def test_a_whole_life(recorded: LedgerDriver) -> None:
    recorded.publish("h", [unit(1)])
    recorded.name_consumer(A, "web")
    (record,) = recorded.claim(request("gpu:1"), A).units
    for state in LIFE:
        record = recorded.move(record, state)
    recorded.move(record, State.QUARANTINED, reason="reads ff")
    listed = events(recorded)
    states = ["absent", "free", "claimed", *LIFE, "quarantined"]
    assert steps(listed) == [
        ("h/0000:01:00.0", str(before), str(after))
        for before, after in itertools.pairwise(states)
    ]
    consumers = [e.transition.consumer for e in listed]
    assert consumers == [None, *[A] * 6, None]
    assert {e.consumer_name for e in listed[1:7]} == {"web"}
    assert listed[1].transition.reason == "gpu:1"
    assert listed[-1].transition.reason == "reads ff"
    assert {e.actor for e in listed} == {ALICE}
    times = [e.time_us for e in listed]
    assert times == sorted(times)
    generations = [e.transition.generation for e in listed]
    assert len(set(generations)) == len(generations)


def test_a_claim_that_is_repeated_leaves_one_event(
    recorded: LedgerDriver,
) -> None:
    recorded.publish("h", [unit(1), unit(2)])
    recorded.claim(request("gpu:1"), A)
    recorded.claim(request("gpu:1"), A)
    keys = [unit(2).key]
    recorded.claim_units(keys, B, "libvirt")
    recorded.claim_units(keys, B, "libvirt")
    claims = [e for e in events(recorded) if e.transition.after == "claimed"]
    assert [(e.transition.consumer, e.transition.reason) for e in claims] == [
        (A, "gpu:1"),
        (B, "libvirt"),
    ]


def test_what_is_refused_leaves_no_event(recorded: LedgerDriver) -> None:
    recorded.publish("h", [unit(1)])
    (record,) = recorded.claim(request("gpu:1"), A).units
    recorded.move(record, State.ACTIVE)
    before = events(recorded)
    with pytest.raises(errors.Conflict):
        recorded.move(record, State.ACTIVE)
    with pytest.raises(errors.NoValidHost):
        recorded.claim(request("gpu:1"), B)
    with pytest.raises(errors.Refused):
        recorded.claim_units([unit(1).key], B, "libvirt")
    recorded.publish("h", [unit(1)])
    assert events(recorded) == before


def test_a_new_reason_replaces_the_old_one_which_stays_in_the_history(
    recorded: LedgerDriver,
) -> None:
    recorded.publish("h", [unit(1)])
    (record,) = recorded.records()
    record = recorded.move(record, State.QUARANTINED, reason="loud")
    recorded.move(record, State.QUARANTINED, reason="reads ff")
    (record,) = recorded.records()
    assert record.reason == "reads ff"
    listed = events(recorded, EventQuery("h", "0000:01:00.0"))
    assert [e.transition.reason for e in listed[1:]] == ["loud", "reads ff"]
    assert steps(listed)[-1][1:] == ("quarantined", "quarantined")


def test_what_publishing_changes(recorded: LedgerDriver) -> None:
    recorded.publish("h", [unit(1), unit(2), unit(3)])
    (held,) = recorded.claim_units([unit(1).key], A, "x").units
    count = len(events(recorded))
    recorded.publish("h", [unit(3, NIC)])
    assert sorted(steps(events(recorded)[count:])) == [
        ("h/0000:01:00.0", "claimed", "claimed"),
        ("h/0000:02:00.0", "free", "absent"),
        ("h/0000:03:00.0", "free", "quarantined"),
    ]
    (quarantined,) = events(recorded, EventQuery("h", "0000:03:00.0"))[1:]
    assert "10de:1430" in quarantined.transition.reason
    recorded.publish("h", [unit(1), unit(3, NIC)])
    assert steps(events(recorded))[-1] == (
        "h/0000:01:00.0",
        "claimed",
        "claimed",
    )
    assert held.unit.key == unit(1).key


def test_a_cordon_is_an_event_of_the_host(recorded: LedgerDriver) -> None:
    recorded.publish("h", [unit(1)])
    recorded.cordon("h", "roof")
    recorded.uncordon("h")
    cordon, uncordon = events(recorded)[1:]
    assert (cordon.unit, cordon.transition.after) == ("h", "cordoned")
    assert cordon.transition.reason == "roof"
    assert uncordon.transition.after == "offered"


def test_which_events_are_listed(recorded: LedgerDriver) -> None:
    recorded.publish("g", [unit(1, host="g")])
    recorded.publish("h", [unit(1), unit(2)])
    recorded.name_consumer(A, "web")
    recorded.claim_units([unit(2).key], A, "x")
    everything = events(recorded)
    assert len(everything) == 4
    for query, expected in (
        (EventQuery(host="g"), everything[:1]),
        (EventQuery(host="H"), []),
        (EventQuery("h", "0000:02:00.0"), everything[2:]),
        (EventQuery(consumer=A), everything[3:]),
        (EventQuery(consumer="web"), everything[3:]),
        (EventQuery(consumer=B), []),
        (EventQuery(since_us=everything[3].time_us), everything[3:]),
        (EventQuery(since_us=everything[3].time_us + 1), []),
        (EventQuery(limit=2), everything[2:]),
    ):
        listing = recorded.events(query)
        assert list(listing.events) == expected, query
        assert listing.has_more == (query.limit == 2)


def test_texts_of_any_kind_are_kept_printable(recorded: LedgerDriver) -> None:
    recorded.publish("h", [unit(1)])
    (record,) = recorded.records()
    recorded.name_consumer(A, "\x1b[2J\ud800" + "n" * 999)
    (record,) = recorded.claim(request("gpu:1"), A).units
    recorded.move(record, State.FREE, reason="Zażółć\n\t\x07" + "y" * 9999)
    event = events(recorded)[-1]
    assert event.transition.reason.startswith("Zażółć")
    assert event.transition.reason.isprintable()
    assert len(event.transition.reason) == 1024
    assert event.consumer_name.isprintable()
    (record,) = recorded.records()
    assert record.reason == ""

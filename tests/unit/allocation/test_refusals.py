"""What a refusal counts, and the words of each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    TRANSITIONS,
    State,
    Unit,
    UnitRecord,
)
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import GPU, NIC, request, unit

CONSUMER = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


def record(
    published: Unit, state: State = State.FREE, *, is_missing: bool = False
) -> UnitRecord:
    return UnitRecord(published, state, None, 7, is_missing, "")


def host(name: str, *aggregates: str, cordoned: str = "") -> HostRecord:
    return HostRecord(name, 1, bool(cordoned), cordoned, frozenset(aggregates))


HOSTS = (
    host("a", "rack-1"),
    host("b", "rack-1", "ssd"),
    host("hyhive", cordoned="fans"),
    host("z", cordoned="roof"),
)
RECORDS = (
    record(unit(1, host="a"), State.ACTIVE),
    record(unit(2, host="a"), State.ACTIVE),
    record(unit(3, GPU, GPU, host="a"), State.QUARANTINED),
    record(unit(4, host="a"), is_missing=True),
    record(unit(1, NIC, host="b")),
    record(unit(2, host="b", traits="LOUD")),
    record(unit(1, host="hyhive")),
    record(unit(2, host="hyhive"), State.ACTIVE),
    record(unit(1, host="z")),
)


def no_valid_host(
    wish: Request,
    name: str | None = None,
    hosts: tuple[HostRecord, ...] = HOSTS,
    records: tuple[UnitRecord, ...] | None = RECORDS,
) -> str:
    return str(refusals.no_valid_host(wish, name, hosts, records))


def within(text: str, aggregate: str) -> Request:
    return dataclasses.replace(request(text), aggregate=aggregate)


@pytest.mark.parametrize(
    ("wish", "name", "shown"),
    [
        (request("gpu:1"), None, "8 matching units, 1 free"),
        (request("gpu:1"), None, "3 active, 1 quarantined, 1 missing"),
        (request("gpu:1"), None, "2 on 2 cordoned hosts"),
        (request("gpu:1", without="LOUD"), None, "7 matching units, 0 free"),
        (request("gpu:1"), "a", "4 matching units, 0 free"),
        (request("gpu:2"), "hyhive", "1 on cordoned host hyhive"),
        (within("gpu:1", "ssd"), None, "1 matching unit in aggregate ssd, 1"),
        (request("gpu:1,nic:1"), "b", "nic: 1 matching unit, 1 free"),
        (request("nic:1"), "a", "matches alias nic"),
        (within("gpu:1", "ssd"), "a", "host a is not in aggregate ssd"),
        (within("gpu:1", "ssx"), None, "no host is in aggregate ssx"),
        (request("gpu:1"), "c", "the ledger has no host c"),
    ],
)
def test_what_is_counted(wish: Request, name: str | None, shown: str) -> None:
    assert shown in no_valid_host(wish, name)


def test_free_functions_that_do_not_fit_together() -> None:
    """Counted in functions, as a request does: a unit may have two."""
    apart = "but not on one host"
    two = (record(unit(1, GPU, GPU, host="a")),)
    assert apart in no_valid_host(request("gpu:2"), records=two)
    assert apart not in no_valid_host(request("gpu:3"), records=two)


def test_a_ledger_in_which_no_host_has_published() -> None:
    for records in ((), None):
        text = no_valid_host(request("gpu:1"), None, (), records)
        assert "inventory sync" in text
    assert "no host c" in no_valid_host(request("gpu:1"), "c", (), ())


def test_no_numbers_where_there_are_too_many_units() -> None:
    text = no_valid_host(request("gpu:1"), records=None)
    assert "gpu:1" in text
    assert "0 free" not in text


def refused() -> dict[str, errors.Error]:
    """Every refusal, by its name in the golden file."""
    free = record(unit(1))
    active = record(unit(1), State.ACTIVE)
    wish = request("gpu:1")
    return {
        "no_valid_host": refusals.no_valid_host(wish, None, HOSTS, RECORDS),
        "no_valid_host, one": refusals.no_valid_host(
            wish, None, HOSTS[2:3], RECORDS
        ),
        "no_valid_host, two items": refusals.no_valid_host(
            request("gpu:1,nic:1"), "b", HOSTS, RECORDS
        ),
        "no_valid_host, in an aggregate": refusals.no_valid_host(
            within("gpu:2", "rack-1"), None, HOSTS, RECORDS
        ),
        "no_valid_host, aggregate unknown": refusals.no_valid_host(
            within("gpu:1", "rack-9"), None, HOSTS, RECORDS
        ),
        "no_valid_host, host not in aggregate": refusals.no_valid_host(
            within("gpu:1", "ssd"), "a", HOSTS, RECORDS
        ),
        "no_valid_host, host unknown": refusals.no_valid_host(
            wish, "c", HOSTS, RECORDS
        ),
        "no_valid_host, no match": refusals.no_valid_host(
            request("nic:1"), "a", HOSTS, RECORDS
        ),
        "no_valid_host, no hosts": refusals.no_valid_host(wish, None, (), ()),
        "no_valid_host, not counted": refusals.no_valid_host(
            wish, None, HOSTS, None
        ),
        "claim_lost": refusals.claim_lost("gpu:1"),
        "consumer_invalid": refusals.consumer_invalid("123"),
        "consumer_holds_nothing": refusals.consumer_holds_nothing(CONSUMER),
        "consumer_holds_other": refusals.consumer_holds_other(
            CONSUMER, "gpu:2", "h"
        ),
        "host_unknown": refusals.host_unknown("h"),
        "host_cordoned": refusals.host_cordoned("h", "new fans"),
        "host_name_taken": refusals.host_name_taken("h"),
        "inventory_lost": refusals.inventory_lost("h"),
        "unit_unknown": refusals.unit_unknown(free.unit.key),
        "unit_not_free": refusals.unit_not_free(active),
        "unit_not_free, missing": refusals.unit_not_free(
            record(unit(1), is_missing=True)
        ),
        "unit_not_free, raced": refusals.unit_not_free(free),
        "unit_only_claimed": refusals.unit_only_claimed(free.unit.key),
        "unit_cannot_become": refusals.unit_cannot_become(
            free, State.ACTIVE, sorted(TRANSITIONS[State.FREE])
        ),
        "unit_changed": refusals.unit_changed(active, State.RELEASING, 9),
    }


def test_golden_messages() -> None:
    messages = {
        name: f"{type(error).__name__}: {error}"
        for name, error in refused().items()
    }
    assert not any("\n" in line for line in messages.values())
    path = Path(__file__).with_name("messages.txt")
    assert_golden(path, sections(messages))

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
    DeviceType,
    State,
    UnitRecord,
)
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import (
    GPU,
    NIC,
    host,
    of_type,
    record,
    request,
    unit,
)

CONSUMER = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


HOSTS = (
    host("a", "rack-1"),
    host("b", "rack-1", "ssd"),
    host("hyhive", cordoned="fans"),
    host("z", cordoned="roof"),
)
RECORDS = (
    record(unit(1, host="a"), State.ACTIVE, CONSUMER),
    record(unit(2, host="a"), State.ACTIVE, CONSUMER),
    record(unit(3, GPU, GPU, host="a"), State.QUARANTINED, reason="fan\nloud"),
    record(unit(4, host="a"), is_missing=True),
    record(unit(1, NIC, host="b")),
    record(unit(2, host="b", traits="LOUD")),
    record(unit(1, host="hyhive")),
    record(unit(2, host="hyhive"), State.ACTIVE),
    record(unit(1, host="z")),
)


SWITCHES = (
    record(unit(1, host="a", switch=1)),
    record(unit(2, host="a", node=1, switch=2)),
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
        (request("gpu:1"), None, "8 units have these ids: 1 free"),
        (request("gpu:1"), None, f"2 active for {CONSUMER}"),
        (request("gpu:1"), None, "1 quarantined: fan loud, 1 missing"),
        (request("gpu:1"), None, "1 on host hyhive, cordoned: fans"),
        (request("gpu:1", without="LOUD"), None, "has the forbidden CUSTOM_L"),
        (request("gpu:1"), "a", "4 units have these ids"),
        (within("gpu:1", "ssd"), None, "1 unit has these ids in aggregate"),
        (request("gpu:1,nic:1"), "b", "nic: 1 unit has these ids: 1 free"),
        (request("nic:1"), "a", "alias nic (10de:1017); units have 10de:1430"),
        (within("gpu:1", "ssd"), "a", "host a is not in aggregate ssd"),
        (within("gpu:1", "ssx"), None, "no host is in aggregate ssx"),
        (request("gpu:1"), "c", "the ledger has no host c"),
        (request("required:1", 7), "b", "no unit is on node 7, only on: 0"),
    ],
)
def test_what_is_counted(wish: Request, name: str | None, shown: str) -> None:
    assert shown in no_valid_host(wish, name)


def test_many_details_of_one_obstacle_are_summed_up() -> None:
    hosts = tuple(host(f"c{n}", cordoned=f"why {n}") for n in range(4))
    records = tuple(record(unit(1, host=h.name)) for h in hosts)
    text = no_valid_host(request("gpu:1"), None, hosts, records)
    assert "4 on cordoned hosts" in text
    text = no_valid_host(request("gpu:1"), None, hosts[:3], records)
    assert all(f"cordoned: why {n}" in text for n in range(3))


def test_a_long_reason_is_cut() -> None:
    loud = record(unit(1, host="a"), State.QUARANTINED, reason="x" * 5000)
    assert len(no_valid_host(request("gpu:1"), None, HOSTS, (loud,))) < 300


def test_a_ledger_in_which_no_host_has_published() -> None:
    for records in ((), None):
        text = no_valid_host(request("gpu:1"), None, (), records)
        assert "inventory sync" in text
    assert "no host c" in no_valid_host(request("gpu:1"), "c", (), ())


def test_no_numbers_where_there_are_too_many_units() -> None:
    text = no_valid_host(request("gpu:1"), records=None)
    assert "gpu:1" in text
    assert "0 free" not in text


# Of each: the request, the only host, the hosts, and their units.
NO_VALID_HOST: dict[
    str,
    tuple[
        Request,
        str | None,
        tuple[HostRecord, ...],
        tuple[UnitRecord, ...] | None,
    ],
] = {
    "no_valid_host": (request("gpu:1"), None, HOSTS, RECORDS),
    "no_valid_host, one": (request("gpu:1"), None, HOSTS[2:3], RECORDS),
    "no_valid_host, two items": (
        request("gpu:1,nic:1"),
        "b",
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, in an aggregate": (
        within("gpu:2", "rack-1"),
        None,
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, aggregate unknown": (
        within("gpu:1", "rack-9"),
        None,
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, host not in aggregate": (
        within("gpu:1", "ssd"),
        "a",
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, host unknown": (request("gpu:1"), "c", HOSTS, RECORDS),
    "no_valid_host, no match": (request("nic:1"), "a", HOSTS, RECORDS),
    "no_valid_host, no hosts": (request("gpu:1"), None, (), ()),
    "no_valid_host, not counted": (request("gpu:1"), None, HOSTS, None),
    "no_valid_host, alias": (
        request("gold:1,sound:1"),
        None,
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, type": (
        request("gpu:1"),
        None,
        HOSTS,
        (record(of_type(unit(1, host="a"), DeviceType.PF)),),
    ),
    "no_valid_host, NUMA node": (
        request("required:1", 7),
        None,
        HOSTS,
        RECORDS,
    ),
    "no_valid_host, apart": (
        request("gpu:2"),
        None,
        HOSTS,
        (*RECORDS, record(unit(9, host="a"))),
    ),
    "no_valid_host, switches": (
        request("gpu:2", same_switch=True),
        None,
        HOSTS,
        SWITCHES,
    ),
    "no_valid_host, NUMA policy": (
        request("required:2"),
        None,
        HOSTS,
        SWITCHES,
    ),
    "no_valid_host, NUMA policy and switches": (
        request("required:2", same_switch=True),
        None,
        HOSTS,
        SWITCHES,
    ),
    "no_valid_host, one for two": (
        request("gpu:1,any:1"),
        None,
        HOSTS,
        SWITCHES[:1],
    ),
    "no_valid_host, no units": (request("gpu:1"), "a", HOSTS, ()),
}
FREE = record(unit(1))
ACTIVE = record(unit(1), State.ACTIVE, CONSUMER)
OTHERS: dict[str, errors.Error] = {
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
    "unit_unknown": refusals.unit_unknown(FREE.unit.key),
    "unit_not_free": refusals.unit_not_free(ACTIVE),
    "unit_not_free, quarantined": refusals.unit_not_free(
        record(unit(1), State.QUARANTINED, reason="fan loud")
    ),
    "unit_not_free, missing": refusals.unit_not_free(
        record(unit(1), is_missing=True)
    ),
    "unit_not_free, raced": refusals.unit_not_free(FREE),
    "unit_only_claimed": refusals.unit_only_claimed(FREE.unit.key),
    "unit_cannot_become": refusals.unit_cannot_become(
        FREE, State.ACTIVE, sorted(TRANSITIONS[State.FREE])
    ),
    "unit_changed": refusals.unit_changed(ACTIVE, State.RELEASING, 9),
}


def test_golden_messages() -> None:
    refused = {
        name: refusals.no_valid_host(*arguments)
        for name, arguments in NO_VALID_HOST.items()
    }
    messages = {
        name: f"{type(error).__name__}: {error}"
        for name, error in (refused | OTHERS).items()
    }
    assert not any("\n" in line for line in messages.values())
    path = Path(__file__).with_name("messages.txt")
    assert_golden(path, sections(messages))

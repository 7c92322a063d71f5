"""Hosts in the ledger: cordoned ones, aggregates, two of one name."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.allocation import HostRecord, Weight
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import GPU, NIC, request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
D = "dddddddd-0000-4000-8000-000000000004"


def hosts(ledger: SqlLedger, text: str = "gpu:1") -> list[str]:
    """Where a request fits, in the order in which a claim looks."""
    candidates = ledger.candidates(request(text), limit=50)
    return list(dict.fromkeys(candidate.host for candidate in candidates))


def within_aggregate(name: str) -> Request:
    return dataclasses.replace(request("gpu:1"), aggregate=name)


def test_nothing_of_a_cordoned_host_is_offered(ledger: SqlLedger) -> None:
    for host in ("a", "b"):
        ledger.publish(host, [unit(n, host=host) for n in (1, 2)])
    (held,) = ledger.claim(request("gpu:1"), A, host="a").units
    cordoned = ledger.cordon("a", "fans are changed")
    assert cordoned == HostRecord(
        "a", 1, True, "fans are changed", frozenset()
    )
    assert ledger.hosts()[0] == cordoned
    assert hosts(ledger) == ["b"]
    with pytest.raises(
        errors.NoValidHost, match="1 on host a, cordoned: fans"
    ):
        ledger.claim(request("gpu:1"), B, host="a")
    # What is held stays held, and what is freed is not offered.
    for state in (State.PREPARING, State.RELEASING, State.SANITISING):
        held = ledger.move(held, state)
    ledger.move(held, State.FREE)
    assert hosts(ledger) == ["b"]
    # Nor is what is new.
    ledger.publish("a", [unit(n, host="a") for n in (1, 2, 3)])
    assert hosts(ledger) == ["b"]
    assert ledger.uncordon("a").is_cordoned is False
    assert hosts(ledger) == ["b", "a"]
    assert ledger.claim(request("gpu:3"), B).host == "a"


def test_a_cordoned_host_stays_so_for_who_waits(ledger: SqlLedger) -> None:
    ledger.publish("a", [unit(1, host="a")])
    ledger.cordon("a", "")
    assert ledger.hosts()[0].is_cordoned
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), A)


def test_no_such_host(ledger: SqlLedger) -> None:
    with pytest.raises(errors.Refused, match="no host x"):
        ledger.cordon("x", "")
    with pytest.raises(errors.Refused, match="no host x"):
        ledger.uncordon("x")
    assert ledger.hosts() == ()


def test_aggregates(ledger: SqlLedger) -> None:
    ledger.publish(
        "a", [unit(1, host="a")], aggregates=frozenset({"rack 1", "ssd"})
    )
    ledger.publish("b", [unit(1, host="b")], aggregates=frozenset({"ssd"}))
    ledger.publish("c", [unit(1, host="c")])
    assert [h.aggregates for h in ledger.hosts()] == [
        {"rack 1", "ssd"},
        {"ssd"},
        set(),
    ]
    within = within_aggregate("rack 1")
    assert [c.host for c in ledger.candidates(within)] == ["a"]
    assert ledger.candidates(within, host="b") == ()
    assert ledger.claim(within, A).host == "a"
    assert ledger.claim(within, A).host == "a"
    with pytest.raises(
        errors.NoValidHost, match=f"in aggregate rack 1: 1 claimed for {A}"
    ):
        ledger.claim(within, B)
    ssd = within_aggregate("ssd")
    assert ledger.claim(ssd, B).host == "b"
    # The host changes racks: that is published, and counts.
    report = ledger.publish(
        "c", [unit(1, host="c")], aggregates=frozenset({"rack 1"})
    )
    assert (report.generation, report.added, report.changed) == (2, (), ())
    assert ledger.claim(within, C).host == "c"


def test_two_machines_of_one_name(ledger: SqlLedger) -> None:
    ledger.publish("h", [unit(1)], machine="first")
    with pytest.raises(errors.Refused, match="host h"):
        ledger.publish("h", [unit(2)], machine="second")
    assert [r.unit for r in ledger.records()] == [unit(1)]
    # Of one that nothing is known of nothing is said, nor remembered.
    ledger.publish("h", [unit(1, node=1)])
    with pytest.raises(errors.Refused, match="host h"):
        ledger.publish("h", [unit(1)], machine="second")
    ledger.publish("h", [unit(1)], machine="first")
    report = ledger.publish("h", [unit(2)], machine="second", replaces=True)
    assert (report.added, report.removed) == ((unit(2),), (unit(1),))
    with pytest.raises(errors.Refused, match="inventory sync --replace"):
        ledger.publish("h", [unit(1)], machine="first")


def test_names_differ_by_case_and_accent(ledger: SqlLedger) -> None:
    names = ("Host", "host", "hôst")
    for name in names:
        ledger.publish(name, [unit(1, host=name)])
    assert [h.name for h in ledger.hosts()] == sorted(names)
    for name in names:
        (record,) = ledger.records(host=name)
        assert record.unit.key.host == name


@pytest.mark.parametrize(
    ("weight", "wanted"),
    [(Weight.PACK, ["b", "a", "c"]), (Weight.SPREAD, ["c", "a", "b"])],
)
def test_weights(database_url: str, weight: Weight, wanted: list[str]) -> None:
    ledger = SqlLedger(LedgerSettings(database_url, weight=weight))
    ledger.sync()
    for host, count in (("a", 2), ("b", 1), ("c", 3)):
        units = [unit(n, host=host) for n in range(1, count + 1)]
        ledger.publish(host, units)
    assert hosts(ledger) == wanted
    assert ledger.claim(request("gpu:1"), A).host == wanted[0]
    assert ledger.claim(request("gpu:2"), B).host == (
        "a" if weight is Weight.PACK else "c"
    )
    ledger.close()


def test_more_hosts_than_a_page(ledger: SqlLedger) -> None:
    """Forty hosts whose GPUs do; whose NIC is one of the last looked at."""
    for number in range(40):
        name = f"h{number:02}"
        nic = [unit(9, NIC, host=name)] if number == 33 else []
        ledger.publish(name, [unit(1, host=name), *nic])
    assert len(hosts(ledger)) == 40
    assert hosts(ledger, "gpu:1,nic:1") == ["h33"]
    assert ledger.claim(request("gpu:1,nic:1"), A).host == "h33"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1,nic:1"), B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:2"), B)


def test_on_one_node_before_on_two(ledger: SqlLedger) -> None:
    """Hosts that have two on one node come first, however full they are."""
    ledger.publish("a", [unit(n, host="a", node=n % 2) for n in (1, 2)])
    ledger.publish("b", [unit(n, host="b", node=0) for n in (1, 2, 3, 4)])
    assert hosts(ledger, "gpu:2") == ["b", "a"]
    assert hosts(ledger, "required:2") == ["b"]
    assert ledger.claim(request("required:2"), A).host == "b"
    assert ledger.claim(request("gpu:2"), B).host == "b"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("required:2"), C)
    assert ledger.claim(request("gpu:2"), C).host == "a"


def test_tied_to_a_node(ledger: SqlLedger) -> None:
    ledger.publish("a", [unit(1, host="a", node=0)])
    ledger.publish("b", [unit(1, host="b", node=1)])
    ledger.publish("c", [unit(1, host="c", node=None)])
    assert ledger.claim(request("required:1", 1), A).host == "b"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("required:1", 1), B)
    assert ledger.claim(request("legacy:1", 1), B).host == "c"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("legacy:1", 1), C)
    assert ledger.claim(request("gpu:1", 1), C).host == "a"


def test_a_card_that_comes_later(ledger: SqlLedger) -> None:
    """A ledger that is long open learns of it."""
    ledger.publish("a", [unit(1, host="a")])
    assert ledger.claim(request("gpu:1"), A).host == "a"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("nic:1"), B)
    ledger.publish("b", [unit(1, NIC, host="b")])
    assert ledger.claim(request("nic:1"), B).host == "b"
    ledger.publish("c", [unit(1, GPU, NIC, host="c")])
    assert ledger.claim(request("any:2"), C).host == "c"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("any:1"), D)

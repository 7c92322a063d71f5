"""A malformed row of one host stops no other host, on each database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.functional.corrupt import corrupt
from tests.unit.allocation.build import request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"

pytest_plugins = ("tests.functional.servers.fixtures",)

# Of unit 1 of host "evil": a statement, and what its record says then.
BAD = {
    "UPDATE unit_function SET address = 'zz' WHERE unit_id = :id"
    " AND class_code = 196608": "'zz'",
    "UPDATE unit SET address = '0000:01:00.9' WHERE id = :id": "00.9'",
    "UPDATE unit SET address = '0000:0A:00.0' WHERE id = :id": "'0000:0A",
    "UPDATE unit SET address = '0000:05:00.0' WHERE id = :id": "05:00.0",
    "UPDATE unit SET switch = 'port' WHERE id = :id": "switch 'port'",
    "UPDATE unit SET state = 'bogus' WHERE id = :id": "state 'bogus'",
    "UPDATE unit SET state = 'active' WHERE id = :id": "no consumer",
    "UPDATE unit SET generation = 2147483647 WHERE id = :id": "generation",
    "UPDATE unit SET generation = -1 WHERE id = :id": "generation -1",
    "UPDATE unit SET numa_node = -3 WHERE id = :id": "numa_node -3",
    "UPDATE unit SET iommu_group = -1 WHERE id = :id": "iommu_group -1",
    "UPDATE unit_function SET vendor_id = 65536 WHERE unit_id = :id": "65536",
    "UPDATE unit_function SET class_code = -1 WHERE unit_id = :id": "class",
    "UPDATE unit_function SET device_type = 'X' WHERE unit_id = :id": "'X'",
    "DELETE FROM unit_function WHERE unit_id = :id": "primary",
}


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    opened = SqlLedger(LedgerSettings(database_url))
    opened.sync()
    opened.publish("evil", [unit(1, host="evil")])
    opened.publish("good", [unit(1, host="good"), unit(2, host="good")])
    yield opened
    opened.close()


def require_good_host(ledger: SqlLedger) -> None:
    """Raise unless host "good" can do all that a host does."""
    held = ledger.claim(request("gpu:1"), B)
    assert held.host == "good"
    assert ledger.claim_units([unit(2, host="good").key], C, "x").host
    for record in ledger.records(host="good"):
        ledger.move(record, State.FREE)
    units = [unit(1, host="good"), unit(2, host="good")]
    assert ledger.publish("good", units[:1]).removed == (units[1],)
    assert ledger.publish("good", units).added == (units[1],)
    assert {r.unit.key.host for r in ledger.records()} == {"good"}
    assert [h.name for h in ledger.hosts()] == ["evil", "good"]
    assert {a.host for a in ledger.allocations()} <= {"evil"}
    assert ledger.candidates(request("gpu:2"))[0].host == "good"
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:3"), B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), B, host="evil")
    assert ledger.cordon("good", "x").is_cordoned
    assert not ledger.uncordon("good").is_cordoned


def test_a_malformed_unit(ledger: SqlLedger) -> None:
    for statement, problem in BAD.items():
        require_replaced(ledger, statement, problem)


def require_replaced(ledger: SqlLedger, statement: str, problem: str) -> None:
    """Raise unless its host alone notices it, and replaces it."""
    (row_id,) = ledger.database.read(
        lambda c: c.exec_driver_sql(
            "SELECT unit.id FROM unit JOIN host ON host.id = host_id"
            " WHERE name = 'evil'"
        ).one()
    )
    corrupt(ledger.database, statement, id=row_id)
    (malformed,) = ledger.listing().malformed
    assert str(malformed).startswith(f"host evil, unit {row_id}: ")
    assert problem in malformed.problem
    require_good_host(ledger)
    # Its own host replaces the record; whether it is clean, nobody knows.
    ledger.publish("evil", [unit(1, host="evil")])
    assert ledger.listing().malformed == ()
    (record,) = ledger.records(host="evil")
    assert (record.unit, record.state) == (
        unit(1, host="evil"),
        State.QUARANTINED,
    )
    assert malformed.problem in record.reason
    ledger.move(record, State.FREE)
    (record,) = ledger.claim(request("gpu:1"), A, host="evil").units
    ledger.move(record, State.FREE)


def test_a_malformed_unit_that_a_consumer_holds(ledger: SqlLedger) -> None:
    ledger.claim(request("gpu:1"), A, host="evil")
    corrupt(ledger.database, "UPDATE unit SET state = 'x' WHERE id = 1")
    require_good_host(ledger)
    (malformed,) = ledger.listing(host="evil").malformed
    assert malformed.consumer == A
    report = ledger.publish("evil", [unit(1, host="evil")])
    assert report.withheld == (unit(1, host="evil"),)
    assert ledger.listing().malformed == (malformed,)
    with pytest.raises(errors.Refused):
        ledger.allocation(A)


def test_a_free_unit_with_a_consumer_is_offered_to_nobody(
    ledger: SqlLedger,
) -> None:
    ledger.claim(request("gpu:1"), A, host="evil")
    corrupt(ledger.database, "UPDATE unit SET state = 'free' WHERE id = 1")
    corrupt(ledger.database, "UPDATE supply SET free = 1")
    require_good_host(ledger)
    (malformed,) = ledger.listing(host="evil").malformed
    assert "free, with a consumer" in malformed.problem


def test_malformed_device_models_and_counts(ledger: SqlLedger) -> None:
    corrupt(
        ledger.database,
        "INSERT INTO card (id, vendor_id, product_id, device_type)"
        " VALUES (90, -1, 5, 'type-PCI'), (91, 4318, 5168, 'type-X')",
    )
    corrupt(
        ledger.database,
        "INSERT INTO supply (host_id, card_id, place, free)"
        " VALUES (1, 90, -3, 5), (2, 91, -9, -5)",
    )
    assert ledger.claim(request("gpu:1"), A, host="evil").host == "evil"
    corrupt(ledger.database, "UPDATE unit SET numa_node = -3 WHERE id = 1")
    require_good_host(ledger)


def test_a_consumer_of_another_host(ledger: SqlLedger) -> None:
    """A row of one host adds no unit to what an instance of another has."""
    held = ledger.claim(request("gpu:1"), A, host="good")
    corrupt(
        ledger.database,
        "INSERT INTO allocation (unit_id, consumer_id)"
        " SELECT 1, id FROM consumer",
    )
    corrupt(ledger.database, "UPDATE unit SET state = 'active' WHERE id = 1")
    assert ledger.allocation(A) == held
    assert ledger.allocations() == (held,)


def test_a_malformed_host(ledger: SqlLedger) -> None:
    corrupt(
        ledger.database,
        "UPDATE host SET generation = -5 WHERE name = 'evil'",
    )
    evil, good = ledger.hosts()
    assert (evil.is_malformed, good.is_malformed) == (True, False)
    assert "generation -5" in evil.reason
    assert ledger.host("good") == good
    assert ledger.host("nowhere") is None
    ledger.publish("evil", [unit(1, host="evil")])
    assert not ledger.hosts()[0].is_malformed


_COMMAND = (
    sys.executable,
    "-c",
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)


def test_lists_show_what_is_malformed(tmp_path: Path) -> None:
    config = tmp_path / "gpu-passthrough.conf"
    config.write_text(
        f"[DEFAULT]\nhost = good\nstate_path = {tmp_path}\n"
        '[pci]\nalias = {"name": "gpu", "vendor_id": "10de"}\n'
    )
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/ledger.sqlite"))
    ledger.sync()
    ledger.publish("evil", [unit(1, host="evil")])
    ledger.publish("good", [unit(1, host="good")])
    ledger.claim(request("gpu:1"), A, host="evil")
    corrupt(ledger.database, "UPDATE unit SET address = 'zz' WHERE id = 1")
    ledger.close()

    def listed(*argv: str) -> tuple[Any, str]:
        done = subprocess.run(
            (*_COMMAND, "--config-file", str(config), *argv),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout), done.stderr

    units, _ = listed("unit", "list", "-f", "json")
    assert [row["State"] for row in units] == ["free", "malformed"]
    assert units[1]["Unit"] == "evil/zz"
    assert "unit 1: address 'zz'" in units[1]["Reason"]
    inventory, said = listed("inventory", "list", "-f", "json")
    assert inventory[1] == {
        "Host": "evil",
        "Unit": "zz",
        "Resource Class": None,
        "Type": None,
        "Cordoned": None,
        "NUMA Node": None,
        "State": "malformed",
        "Consumer": A,
    }
    assert "host evil, unit 1: address 'zz'" in said
    (held,), _ = listed("allocation", "list", "-f", "json")
    assert (held["Consumer"], held["State"]) == (A, "malformed")
    files, said = listed("nova", "config", "--from", "inventory", "-f", "json")
    assert files
    assert "skipped host evil, unit 1" in said

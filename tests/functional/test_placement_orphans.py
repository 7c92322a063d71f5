"""Allocations whose consumers Placement lost: reported, then removed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import reading
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.server import PlacementServer
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


@pytest.fixture
def ledger(
    placement_ledger: PlacementLedger, placement_server: PlacementServer
) -> Iterator[PlacementLedger]:
    """A ledger of two units; Placement lost the consumer of the first.

    Of two claims for one new consumer, the slower removes it.
    """
    placement_ledger.publish("h", [unit(1), unit(2)])
    placement_ledger.claim(request("gpu:1"), A)
    file = placement_server.folder / "placement.sqlite"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM consumers WHERE uuid = ?", (A,))
    yield placement_ledger
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM allocations")
        database.execute("DELETE FROM consumers")


def test_one_keeps_no_other_unit_from_being_read(
    ledger: PlacementLedger,
) -> None:
    assert [r.unit for r in ledger.records()] == [unit(2)]
    listing = ledger.listing()
    (malformed,) = listing.malformed
    assert malformed.address == "0000:01:00.0"
    assert malformed.problem == reading.USED_BY_NO_CONSUMER
    assert "placement-manage" in malformed.problem
    assert ledger.allocations() == ()
    assert ledger.claim(request("gpu:1"), B).units[0].unit == unit(2)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:2"), A)


def test_the_same_claim_repairs_it(ledger: PlacementLedger) -> None:
    ledger.claim(request("gpu:1"), A)
    held = ledger.claim(request("gpu:1"), B)
    assert len(ledger.allocations()) == 2
    assert held in ledger.allocations()


def migrate(placement_server: PlacementServer) -> None:
    """Give lost consumers back to Placement, as its operator does."""
    folder = placement_server.folder
    subprocess.run(
        (
            *(sys.executable, "-c"),
            "import sys; from placement.cmd.manage import main;"
            " sys.exit(main())",
            *("--config-file", folder / "placement.conf"),
            *("db", "online_data_migrations"),
        ),
        env={**os.environ, "OS_PLACEMENT_CONFIG_DIR": str(folder)},
        check=True,
    )


def test_a_sync_keeps_an_orphans_unit_that_is_in_use(
    ledger: PlacementLedger, placement_server: PlacementServer
) -> None:
    """A guest may have it: only its release frees it."""
    migrate(placement_server)
    used = ledger.move(ledger.records()[0], State.PREPARING)
    ledger.publish("h", [unit(1), unit(2)])
    assert ledger.records()[0] == used
    assert used.consumer == A


def test_placements_own_command_and_a_sync_repair_it(
    ledger: PlacementLedger, placement_server: PlacementServer
) -> None:
    migrate(placement_server)
    first = ledger.records()[0]
    assert (first.state, first.consumer) == (State.CLAIMED, A)
    ledger.publish("h", [unit(1), unit(2)])
    assert {r.state for r in ledger.records()} == {State.FREE}
    assert len(ledger.claim(request("gpu:2"), B).units) == 2

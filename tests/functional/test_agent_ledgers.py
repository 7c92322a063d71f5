"""A host in step has no finding, whichever ledger keeps its units."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.agent.observation import Observation
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.model.unit import Unit
from tests.functional.world import HOST, POLICY
from tests.trees.seed import seed
from tests.unit.allocation.build import GPU, NIC, unit

pytest_plugins = (
    "tests.functional.placement.fixtures",
    "tests.functional.servers.fixtures",
)

# Every attribute that a unit can have.
ODD = (
    unit(1, GPU, NIC, host=HOST, node=1, socket=1, switch=4, traits="FAST"),
    unit(2, host=HOST, node=None),
)


def require_in_step(ledger: LedgerDriver, units: tuple[Unit, ...]) -> None:
    """What is published is not published again at each pass."""
    ledger.publish(HOST, units)
    observed = Observation(
        HOST, ledger.listing(host=HOST), (), frozenset(), (), (), units
    )
    assert reconcile(observed) == ()


@pytest.fixture
def units() -> tuple[Unit, ...]:
    return host_snapshot.read(seed().tree(), POLICY).units(HOST)


@pytest.fixture
def sql(database_url: str) -> Iterator[SqlLedger]:
    ledger = SqlLedger(LedgerSettings(database_url))
    ledger.sync()
    yield ledger
    ledger.close()


def test_in_a_database(sql: SqlLedger, units: tuple[Unit, ...]) -> None:
    require_in_step(sql, units)
    require_in_step(sql, ODD)


def test_in_placement(
    placement_ledger: PlacementLedger, units: tuple[Unit, ...]
) -> None:
    require_in_step(placement_ledger, units)
    require_in_step(placement_ledger, ODD)


def test_a_unit_that_is_not_published_is(sql: SqlLedger) -> None:
    sql.publish(HOST, ODD[:1])
    observed = Observation(
        HOST, sql.listing(host=HOST), (), frozenset(), (), (), ODD
    )
    (finding,) = reconcile(observed)
    assert (finding.case, finding.act) == (Case.INVENTORY, Act.PUBLISH)

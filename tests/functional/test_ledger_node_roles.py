"""A node that changes its own rows alone, where PostgreSQL sees to that."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.event import Actor
from gpu_passthrough_plugin.model.host_task import (
    HostTask,
    TaskKind,
    TaskState,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.servers.databases import PostgreSQL
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

SCRIPT = Path(__file__).parents[2] / "etc/postgresql/node-roles.sql"
CONSUMER = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "bbbbbbbb-0000-4000-8000-000000000002"
NODE, VICTIM = "compute-1", "compute-2"
PASSWORD = "n0de"  # noqa: S105 - of a server on loopback that ends soon
LIFE = (
    State.PREPARING,
    State.ACTIVE,
    State.RELEASING,
    State.SANITISING,
    State.FREE,
)
QUICK = {"max_retries": 1, "retry_interval": 0, "db_max_retries": 1}


@dataclasses.dataclass(frozen=True)
class Fleet:
    """Two nodes with a unit each, and the ledger as each of them has it."""

    control: SqlLedger
    node: SqlLedger
    url: sa.URL
    node_url: sa.URL


@pytest.fixture(scope="module")
def fleet(postgresql: PostgreSQL) -> Iterator[Fleet]:
    url = sa.make_url(postgresql.new_database())
    control = _ledger(url)
    control.sync()
    for _ in range(2):
        libpq = url.set(drivername="postgresql")
        subprocess.run(
            (
                *("psql", "-v", "ON_ERROR_STOP=1", "-1", "-f", str(SCRIPT)),
                libpq.render_as_string(hide_password=False),
            ),
            check=True,
            capture_output=True,
        )
    for name in (NODE, VICTIM):
        postgresql.execute(
            f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}'"
            " IN ROLE gpu_passthrough_node"
        )
    node_url = url.set(username=NODE, password=PASSWORD)
    node = _ledger(node_url)
    node.publish(NODE, [unit(1, host=NODE)])
    other = _ledger(url.set(username=VICTIM, password=PASSWORD))
    other.publish(VICTIM, [unit(1, host=VICTIM)])
    other.close()
    yield Fleet(control, node, url, node_url)
    node.close()
    control.close()
    for name in (NODE, VICTIM):
        postgresql.execute(f'DROP ROLE "{name}"')


def _ledger(url: sa.URL) -> SqlLedger:
    text = url.render_as_string(hide_password=False)
    return SqlLedger(LedgerSettings(text, QUICK))


def test_no_table_of_hosts_is_forgotten(fleet: Fleet) -> None:
    """A card is a model, which hosts share and nobody changes."""
    engine = sa.create_engine(fleet.url)
    with engine.connect() as connection:
        protected = connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relrowsecurity"
        )
        names = {name for (name,) in protected}
    engine.dispose()
    assert names == set(schema.metadata.tables) - {"card"}


def test_a_node_goes_through_all_states_of_its_own(fleet: Fleet) -> None:
    held = fleet.node.claim(request("gpu:1"), CONSUMER, host=NODE)
    record = held.units[0]
    for state in LIFE:
        record = fleet.node.move(record, state)
    fleet.node.cordon(NODE, "firmware upgrade")
    fleet.node.uncordon(NODE)
    # With and without a unit, as after a reboot that lost a card.
    fleet.node.publish(NODE, [])
    fleet.node.publish(NODE, [unit(1, host=NODE)])
    assert len(fleet.node.hosts()) == 2
    assert [r.state for r in fleet.control.records()] == [State.FREE] * 2


def test_a_node_cannot_act_for_another(fleet: Fleet) -> None:
    before = fleet.control.records()
    with pytest.raises(errors.Error):
        fleet.node.claim(request("gpu:1"), CONSUMER, host=VICTIM)
    with pytest.raises(errors.Error):
        fleet.node.publish(VICTIM, [unit(2, host=VICTIM)])
    with pytest.raises(errors.Error):
        fleet.node.cordon(VICTIM, "mine")
    (record,) = (r for r in before if r.unit.key.host == VICTIM)
    with pytest.raises(errors.Error):
        fleet.node.move(record, State.QUARANTINED, reason="mine")
    assert fleet.control.records() == before
    assert all(not host.is_cordoned for host in fleet.control.hosts())


def test_a_node_is_asked_and_asks_no_other(fleet: Fleet) -> None:
    by = Actor("unit clear", "control", "ann", 1000)
    now_us = time.time_ns() // 1000

    def task(host: str) -> HostTask:
        subject = "0000:01:00.0"
        uuid = uuid4().hex
        return HostTask(
            uuid, host, TaskKind.CLEAR, subject, by, now_us, now_us, now_us
        )

    with pytest.raises(errors.Refused, match="or on a control node"):
        fleet.node.add_task(task(VICTIM))
    with pytest.raises(errors.Unavailable, match="permission denied"):
        fleet.node.add_task(task(NODE))
    for host in (NODE, VICTIM):
        fleet.control.add_task(task(host))
    own, others = fleet.node.tasks().tasks
    if own.host != NODE:
        own, others = others, own
    with pytest.raises(errors.Conflict, match="expected waiting"):
        fleet.node.change_task(others, TaskState.DONE)
    running = fleet.node.change_task(own, TaskState.RUNNING)
    done = fleet.node.change_task(running, TaskState.DONE)
    assert set(fleet.control.tasks().tasks) == {done, others}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE host_task SET host_id = {victim}",
        "UPDATE host_task SET subject = '{other}'",
        "DELETE FROM host_task",
        "UPDATE unit SET state = 'preparing' WHERE host_id = {victim}",
        "UPDATE unit SET host_id = {victim}",
        "UPDATE unit_function SET address = 'zz' WHERE host_id = {victim}",
        "UPDATE host SET name = 'x' WHERE id = {victim}",
        "UPDATE supply SET free = 0 WHERE host_id = {victim}",
        "UPDATE consumer SET uuid = '{other}' WHERE host_id = {victim}",
        "DELETE FROM allocation",
        "DELETE FROM consumer",
        "DELETE FROM unit WHERE host_id = {victim}",
        "DELETE FROM card",
        "DELETE FROM event",
        "UPDATE event SET reason = 'nothing'",
        "INSERT INTO event SELECT id + 1000000, time_us, host, address,"
        " before_state, after_state, generation, consumer, consumer_name,"
        " reason, command, command_host, user_name, uid FROM event"
        " WHERE host <> session_user",
        "UPDATE card SET vendor_id = 1",
        "DELETE FROM alembic_version",
        "INSERT INTO host_aggregate VALUES ({victim}, 'x')",
        "INSERT INTO consumer (uuid, host_id, request)"
        " VALUES ('{other}', {victim}, 'gpu:1')",
        "INSERT INTO unit_function SELECT {own}, '0000:00:00.0', id, 4318,"
        " 5168, 1, 'type-PCI', true FROM unit WHERE host_id = {victim}",
        "ALTER TABLE unit DISABLE ROW LEVEL SECURITY",
        "SET ROLE gpu_passthrough_node; DELETE FROM unit WHERE host_id ="
        " {victim}",
    ],
)
def test_raw_statements_change_no_other_rows(
    fleet: Fleet, statement: str
) -> None:
    held = fleet.control.claim(request("gpu:1"), CONSUMER, host=VICTIM)
    tables = (
        "host", "unit", "unit_function", "supply", "consumer", "card", "event",
    )  # fmt: skip
    control = sa.create_engine(fleet.url)
    engine = sa.create_engine(fleet.node_url)

    def rows() -> list[object]:
        with control.connect() as connection:
            return [
                sorted(
                    map(tuple, connection.exec_driver_sql(f"TABLE {table}")),
                    key=str,
                )
                for table in (*tables, "allocation", "host_aggregate")
            ]

    before = rows()
    with engine.connect() as connection:
        own, victim = (
            connection.execute(
                sa.text("SELECT id FROM host WHERE name = :name"),
                {"name": name},
            ).scalar_one()
            for name in (NODE, VICTIM)
        )
        try:
            connection.exec_driver_sql(
                statement.format(own=own, victim=victim, other=OTHER)
            )
            connection.commit()
        except sa.exc.DBAPIError as error:
            assert "InsufficientPrivilege" in repr(error.orig)
    assert rows() == before
    fleet.control.move(held.units[0], State.FREE)
    engine.dispose()
    control.dispose()

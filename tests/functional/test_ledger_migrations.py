"""From every released schema to this one's, with data, cut off anywhere."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, config
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema, version
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.functional.corrupt import corrupt
from tests.functional.lab import campaign
from tests.functional.servers.databases import MariaDB
from tests.unit.allocation.build import request

pytest_plugins = ("tests.functional.servers.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
ROOT = str(Path(__file__).parents[2])

# A host of each: what 0001's code left.  Unit 1 of the first is held, 2
# is free, 3 quarantined; 4 of the second is on another NUMA node.
OLD = (
    "INSERT INTO host (id, name, generation) VALUES (1, 'a', 3), (2, 'b', 1)",
    "INSERT INTO unit (id, host_id, address, iommu_group, resource_class,"
    " numa_node, socket, switch, state, generation, is_missing, reason)"
    " VALUES (1, 1, '0000:01:00.0', 1, 'CUSTOM_PCI_10DE_1430', 0, NULL,"
    " NULL, 'claimed', 2, {no}, ''), (2, 1, '0000:02:00.0', 2,"
    " 'CUSTOM_PCI_10DE_1430', 0, NULL, NULL, 'free', 1, {no}, ''),"
    " (3, 1, '0000:03:00.0', 3, 'CUSTOM_PCI_10DE_1430', NULL, NULL, NULL,"
    " 'quarantined', 2, {no}, 'reads ff'), (4, 2, '0000:01:00.0', 1,"
    " 'CUSTOM_PCI_10DE_1430', 1, NULL, NULL, 'free', 1, {no}, '')",
    "INSERT INTO unit_function (host_id, address, unit_id, vendor_id,"
    " product_id, class_code, device_type, is_primary) VALUES"
    " (1, '0000:01:00.0', 1, 4318, 5168, 196608, 'type-PCI', {yes}),"
    " (1, '0000:01:00.1', 1, 4318, 4026, 262912, 'type-PCI', {no}),"
    " (1, '0000:02:00.0', 2, 4318, 5168, 196608, 'type-PCI', {yes}),"
    " (1, '0000:03:00.0', 3, 4318, 5168, 196608, 'type-PCI', {yes}),"
    " (2, '0000:01:00.0', 4, 4318, 5168, 196608, 'type-PCI', {yes})",
    "INSERT INTO consumer (id, uuid, host_id, request, numa_nodes)"
    " VALUES (1, 'aaaaaaaa-0000-4000-8000-000000000001', 1, 'gpu:1', NULL)",
    "INSERT INTO allocation (unit_id, consumer_id) VALUES (1, 1)",
)


def migrate(connection: sa.Connection, revision: str) -> None:
    settings = config.Config()
    settings.set_main_option(
        "script_location", "gpu_passthrough_plugin.allocation.sql:migrations"
    )
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


@pytest.fixture
def old(database_url: str) -> Iterator[SqlLedger]:
    """A ledger that 0001's code left."""
    ledger = SqlLedger(LedgerSettings(database_url))
    with ledger.database.engine.begin() as connection:
        migrate(connection, "0001")
    is_postgres = ledger.database.engine.dialect.name == "postgresql"
    yes, no = ("true", "false") if is_postgres else ("1", "0")
    with ledger.database.engine.begin() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement.format(yes=yes, no=no))
    yield ledger
    ledger.close()


def require_indexes(ledger: SqlLedger) -> None:
    """Nothing, when every index is there."""
    inspector = sa.inspect(ledger.database.engine)
    for table in schema.metadata.sorted_tables:
        there = {index["name"] for index in inspector.get_indexes(table.name)}
        assert {index.name for index in table.indexes} <= there


def require_whole(ledger: SqlLedger) -> None:
    """Nothing, when all that was there is there, and is counted."""
    assert ledger.version() == version.REVISIONS[-1]
    require_indexes(ledger)
    assert [(str(r.unit.key), r.state) for r in ledger.records()] == [
        ("a/0000:01:00.0", State.CLAIMED),
        ("a/0000:02:00.0", State.FREE),
        ("a/0000:03:00.0", State.QUARANTINED),
        ("b/0000:01:00.0", State.FREE),
    ]
    assert ledger.allocation(A).host == "a"
    assert [h.generation for h in ledger.hosts()] == [3, 1]
    rows = ledger.database.read(
        lambda c: c.execute(
            sa.select(
                schema.supply.c.host_id,
                schema.supply.c.place,
                schema.supply.c.free,
            )
        ).all()
    )
    assert sorted(map(tuple, rows)) == [
        (1, -3, 1),
        (1, -2, 1),
        (1, -1, 0),
        (1, 0, 1),
        (2, -3, 1),
        (2, -2, 1),
        (2, 1, 1),
    ]
    assert ledger.claim(request("gpu:1", 1), B).host == "b"
    assert ledger.claim(request("gpu:1"), A).host == "a"


def test_an_old_ledger_is_refused_and_says_what_to_do(old: SqlLedger) -> None:
    with pytest.raises(
        errors.Unavailable,
        match=r"schema 0001, .* 0006; .*db sync",
    ):
        old.records()


def test_forward_with_data(old: SqlLedger) -> None:
    assert old.sync() == version.REVISIONS[-1]
    require_whole(old)
    assert old.sync() == version.REVISIONS[-1]


def test_rows_that_are_malformed(old: SqlLedger) -> None:
    """One line names them, and the old schema stays until they are gone."""
    corrupt(
        old.database,
        "UPDATE unit_function SET address = 'zz' WHERE unit_id = 2",
    )
    corrupt(old.database, "UPDATE unit SET generation = -7 WHERE id = 4")
    inspector = sa.inspect(old.database.engine)
    before = inspector.get_table_names()
    with pytest.raises(errors.Refused) as caught:
        old.sync()
    (line,) = str(caught.value).splitlines()
    assert "host a, unit 2: address 'zz'" in line
    assert "host b, unit 4: generation -7" in line
    assert old.version() == "0001"
    assert sa.inspect(old.database.engine).get_table_names() == before
    corrupt(
        old.database,
        "UPDATE unit_function SET address = '0000:02:00.0' WHERE unit_id = 2",
    )
    corrupt(old.database, "UPDATE unit SET generation = 1 WHERE id = 4")
    assert old.sync() == version.REVISIONS[-1]
    require_whole(old)


def test_the_newest_schema_refuses_what_is_malformed(old: SqlLedger) -> None:
    old.sync()
    for statement in (
        "UPDATE unit SET address = 'zz' WHERE id = 2",
        "UPDATE unit SET address = '0000:0A:00.0' WHERE id = 2",
        "UPDATE unit SET switch = '0000:01' WHERE id = 2",
        "UPDATE unit SET generation = 2147483647 WHERE id = 2",
        "UPDATE unit_function SET address = '' WHERE unit_id = 2",
        "UPDATE unit_function SET vendor_id = 65536 WHERE unit_id = 2",
        "UPDATE consumer SET uuid = 'A' WHERE id = 1",
        "UPDATE consumer SET uuid = upper(uuid) WHERE id = 1",
        "UPDATE consumer SET uuid = replace(uuid, 'a', '-') WHERE id = 1",
        "UPDATE host SET generation = -1 WHERE id = 1",
        "UPDATE supply SET place = -4",
    ):
        with (
            pytest.raises((exception.DBError, sa.exc.DBAPIError)),
            old.database.engine.begin() as connection,
        ):
            connection.exec_driver_sql(statement)
    require_whole(old)


def test_several_at_once(old: SqlLedger) -> None:
    url = old.database.url.render_as_string(hide_password=False)
    script = (
        "import sys\n"
        "from gpu_passthrough_plugin.allocation.driver import *\n"
        "from gpu_passthrough_plugin.allocation.sql.ledger import *\n"
        "print(SqlLedger(LedgerSettings(sys.argv[1])).sync())"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, url],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": ROOT},
        )
        for _ in range(3)
    ]
    outputs = {process.communicate()[0].decode() for process in running}
    assert outputs == {f"{version.REVISIONS[-1]}\n"}
    require_whole(old)


KILLED = (
    "import itertools, os, signal, sys\n"
    "import sqlalchemy as sa\n"
    "from gpu_passthrough_plugin.allocation.driver import *\n"
    "from gpu_passthrough_plugin.allocation.sql.ledger import *\n"
    "ledger = SqlLedger(LedgerSettings(sys.argv[1]))\n"
    "left = itertools.count(int(sys.argv[2]), -1)\n"
    "def die(*said):\n"
    "    if said[2].split()[0] not in ('ALTER', 'CREATE', 'INSERT',"
    " 'UPDATE', 'DELETE'):\n"
    "        return\n"
    "    if next(left) == 0:\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "engine = ledger.database.engine\n"
    "sa.event.listen(engine, 'before_cursor_execute', die)\n"
    "print(ledger.sync())\n"
)


def test_killed_before_each_change(old: SqlLedger) -> None:
    """MariaDB commits each of them: the next call goes on from there.

    A usual run has one in three, from one that the seed draws.
    """
    url = old.database.url.render_as_string(hide_password=False)
    stride = 1 if campaign.is_whole() else 3
    draw = random.Random(campaign.seed())  # noqa: S311 - no secret is made of it
    begin = draw.randrange(stride)
    for number in range(begin, 150, stride):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, url, str(number)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": ROOT},
            check=False,
        )
        if done.returncode != -signal.SIGKILL:
            assert (done.stdout, done.stderr) == (
                f"{version.REVISIONS[-1]}\n",
                "",
            )
            break
        with pytest.raises(errors.Unavailable, match="schema"):
            old.records()
    else:
        raise AssertionError("it never came to its end")
    assert number > 10
    require_whole(old)


def test_an_empty_database_is_made_whole(mariadb: MariaDB) -> None:
    """From nothing, killed before each change; no data to keep."""
    url = mariadb.new_database()
    ledger = SqlLedger(LedgerSettings(url))
    for number in (0, 1, 3, 6, 8):
        subprocess.run(
            [sys.executable, "-c", KILLED, url, str(number)],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": ROOT},
            check=False,
        )
    assert ledger.sync() == version.REVISIONS[-1]
    require_indexes(ledger)
    assert ledger.records() == ()
    ledger.close()

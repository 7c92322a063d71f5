"""The migrations and the tables that the code uses are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import autogenerate, script
from alembic.runtime.migration import MigrationContext

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema, version
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/ledger"))
    ledger.sync()
    ledger.publish("h", [unit(1), unit(2)])
    with ledger.database.engine.connect() as opened:
        yield opened
    ledger.close()


def test_the_migrations_make_the_tables(connection: sa.Connection) -> None:
    context = MigrationContext.configure(
        connection, opts={"compare_server_default": True}
    )
    assert autogenerate.compare_metadata(context, schema.metadata) == []


def test_the_migrations_make_the_constraints(
    connection: sa.Connection,
) -> None:
    inspector = sa.inspect(connection)
    for table in schema.metadata.sorted_tables:
        assert {
            c["name"] for c in inspector.get_check_constraints(table.name)
        } == {
            c.name
            for c in table.constraints
            if isinstance(c, sa.CheckConstraint)
        }
        assert {c["name"] for c in inspector.get_foreign_keys(table.name)} == {
            c.name for c in table.foreign_key_constraints
        }


def test_the_code_knows_every_migration() -> None:
    folder = Path(schema.__file__).parent / "migrations"
    scripts = script.ScriptDirectory(str(folder))
    revisions = [r.revision for r in scripts.walk_revisions()]
    assert tuple(reversed(revisions)) == version.REVISIONS
    assert scripts.get_heads() == [version.REVISIONS[-1]]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO allocation (unit_id, consumer_id) VALUES (1, 2)",
        "UPDATE allocation SET unit_id = 9 WHERE unit_id = 1",
        "DELETE FROM unit WHERE id = 1",
        "DELETE FROM consumer WHERE id = 1",
        "DELETE FROM host",
        "UPDATE unit SET state = 'lost'",
        "UPDATE unit SET address = '0000:01:00.0'",
        "UPDATE unit_function SET address = '0000:01:00.0'",
        "UPDATE unit_function SET device_type = 'type-X'",
        "UPDATE consumer SET uuid = 'bbbbbbbb-0000-4000-8000-000000000002'",
        "UPDATE consumer SET uuid = 'c' WHERE id = 1",
        "UPDATE unit SET address = 'zz' WHERE id = 1",
        "UPDATE unit SET address = '0000:0A:00.0' WHERE id = 1",
        "UPDATE unit SET address = '000:0a:00.0' WHERE id = 1",
        "UPDATE unit SET address = '0000:0a:20.0' WHERE id = 1",
        "UPDATE unit SET address = '000g:0a:10.0' WHERE id = 1",
        "UPDATE unit SET switch = '' WHERE id = 1",
        "UPDATE unit SET generation = 'x' WHERE id = 1",
        "UPDATE unit SET generation = 2147483647 WHERE id = 1",
        "UPDATE unit SET numa_node = -3 WHERE id = 1",
        "UPDATE unit SET socket = -2 WHERE id = 1",
        "UPDATE unit_function SET address = 'zz' WHERE unit_id = 1",
        "UPDATE unit_function SET vendor_id = 65536 WHERE unit_id = 1",
        "UPDATE unit_function SET class_code = 'x' WHERE unit_id = 1",
        "UPDATE host SET generation = -1",
        "UPDATE card SET product_id = -1",
        "UPDATE supply SET free = -1",
        "UPDATE supply SET place = -4",
    ],
)
def test_the_database_refuses(
    connection: sa.Connection, statement: str
) -> None:
    for uuid in (A, B):
        connection.execute(
            schema.consumer.insert(),
            {"uuid": uuid, "host_id": 1, "request": "gpu:1"},
        )
    connection.execute(
        schema.allocation.insert(), {"unit_id": 1, "consumer_id": 1}
    )
    before = connection.execute(sa.select(schema.unit.c.state)).all()
    assert before == [(State.FREE,), (State.FREE,)]
    with pytest.raises(Exception, match="constraint"):
        connection.exec_driver_sql(statement)

"""Events in databases: a kill never splits an event from its change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.event import EventQuery, Retention
from gpu_passthrough_plugin.model.unit import State
from tests.functional.test_ledger_migrations import OLD, migrate
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.servers.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
ROOT = str(Path(__file__).parents[2])
# A claim, two moves, a quarantine and a publication, killed before one of
# their statements, or before a COMMIT.
KILLED = (
    "import itertools, os, signal, sys\n"
    "import sqlalchemy as sa\n"
    "from gpu_passthrough_plugin.allocation.driver import *\n"
    "from gpu_passthrough_plugin.allocation.sql.ledger import *\n"
    "from tests.unit.allocation.build import request, unit\n"
    "ledger = SqlLedger(LedgerSettings(sys.argv[1]))\n"
    "left = itertools.count(int(sys.argv[2]), -1)\n"
    "def die(*_):\n"
    "    if next(left) == 0:\n"
    "        os.kill(os.getpid(), signal.SIGKILL)\n"
    "engine = ledger.database.engine\n"
    "sa.event.listen(engine, 'before_cursor_execute', die)\n"
    "sa.event.listen(engine, 'commit', die)\n"
    "(record,) = ledger.claim(request('gpu:1'), sys.argv[3]).units\n"
    "record = ledger.move(record, State.ACTIVE)\n"
    "record = ledger.move(record, State.RELEASING)\n"
    "record = ledger.move(record, State.SANITISING)\n"
    "ledger.move(record, State.QUARANTINED, reason='x')\n"
    "ledger.publish('h', [unit(1), unit(3)])\n"
    "ledger.cordon('h', 'roof')\n"
)


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    opened = SqlLedger(LedgerSettings(database_url))
    opened.sync()
    opened.publish("h", [unit(1), unit(2)])
    yield opened
    opened.close()


def require_told(ledger: SqlLedger) -> None:
    """Raise unless the newest event of each unit is its state."""
    newest = {
        event.unit: event.transition
        for event in ledger.events(EventQuery()).events
    }
    for record in ledger.records():
        told = newest.pop(str(record.unit.key))
        assert (told.after, told.generation) == (
            record.state,
            record.generation,
        )
    (host,) = ledger.hosts()
    cordon = newest.pop("h", None)
    assert (cordon is not None) == host.is_cordoned
    # What the ledger no longer has.
    assert {transition.after for transition in newest.values()} <= {"absent"}


def test_killed_before_each_statement(ledger: SqlLedger) -> None:
    url = ledger.database.url.render_as_string(hide_password=False)
    killed = 0
    for number in range(0, 200, 4):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, url, str(number), A],
            capture_output=True,
            env=os.environ | {"PYTHONPATH": ROOT},
            check=False,
        )
        require_told(ledger)
        if done.returncode != -signal.SIGKILL:
            assert done.stderr == b""
            break
        killed += 1
        _start_again(ledger)
    else:
        raise AssertionError("the statements never came to their end")
    assert killed > 10


def _start_again(ledger: SqlLedger) -> None:
    """Bring every unit back to where the process began."""
    ledger.uncordon("h")
    for record in ledger.records():
        if record.state is State.ACTIVE:
            record = ledger.move(record, State.RELEASING)
        if record.state is State.RELEASING:
            record = ledger.move(record, State.SANITISING)
        if record.state is not State.FREE:
            ledger.move(record, State.FREE)
    ledger.publish("h", [unit(1), unit(2)])


def test_events_begin_with_the_schema_that_has_them(
    database_url: str,
) -> None:
    ledger = SqlLedger(LedgerSettings(database_url))
    engine = ledger.database.engine
    with engine.begin() as connection:
        migrate(connection, "0001")
    yes, no = "1", "0"
    if engine.dialect.name == "postgresql":
        yes, no = "true", "false"
    with engine.begin() as connection:
        for statement in OLD:
            connection.exec_driver_sql(statement.format(yes=yes, no=no))
    ledger.database.migrate(lambda connection: migrate(connection, "0003"))
    before = ledger.database.read(
        lambda c: c.exec_driver_sql("SELECT * FROM unit ORDER BY id").all()
    )
    assert ledger.sync() == "0006"
    after = ledger.database.read(
        lambda c: c.exec_driver_sql("SELECT * FROM unit ORDER BY id").all()
    )
    assert after == before
    assert ledger.events(EventQuery()).events == ()
    (held,) = ledger.allocation(A).units
    ledger.move(held, State.FREE)
    (event,) = ledger.events(EventQuery()).events
    assert (event.transition.consumer, event.transition.after) == (A, "free")
    ledger.close()


def test_old_events_are_removed(database_url: str) -> None:
    ledger = SqlLedger(
        LedgerSettings(database_url, retention=Retention(0, 20))
    )
    ledger.sync()
    ledger.publish("h", [unit(1)])
    for _ in range(270):
        (record,) = ledger.claim(request("gpu:1"), A).units
        ledger.move(record, State.FREE)
    listed = ledger.events(EventQuery()).events
    assert 20 <= len(listed) < 300
    assert listed[-1].transition.after == "free"
    ledger.close()

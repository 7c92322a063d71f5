"""Transactions that are done again, and for how long."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import request, unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
AT_ONCE = {"db_retry_interval": 0, "db_max_retries": 3}


@pytest.fixture
def database() -> Iterator[Database]:
    opened = Database(LedgerSettings("sqlite://", AT_ONCE))
    opened.write(lambda c: c.exec_driver_sql("CREATE TABLE t (x INTEGER)"))
    yield opened
    opened.close()


class Failing:
    """Work that writes a row, and fails so many times."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.left = times
        self.attempts = 0

    def __call__(self, connection: sa.Connection) -> str:
        self.attempts += 1
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def rows(database: Database) -> int:
    def count(connection: sa.Connection) -> int:
        number = connection.exec_driver_sql("SELECT count(*) FROM t").scalar()
        return int(number or 0)

    return database.read(count)


REPEATED: list[tuple[Exception, type[errors.Error]]] = [
    (exception.DBDeadlock(), errors.Conflict),
    (exception.DBDuplicateEntry(), errors.Conflict),
    (exception.DBConnectionError(), errors.Unavailable),
    (exception.RetryRequest(errors.Conflict("mine")), errors.Conflict),
]


@pytest.mark.parametrize(("error", "_"), REPEATED)
def test_done_again_until_it_succeeds(
    database: Database, error: Exception, _: type[errors.Error]
) -> None:
    work = Failing(error, 3)
    assert database.write(work) == "done"
    # What the failed attempts wrote is not there.
    assert (work.attempts, rows(database)) == (4, 1)


@pytest.mark.parametrize(("error", "expected"), REPEATED)
def test_not_for_ever(
    database: Database, error: Exception, expected: type[errors.Error]
) -> None:
    work = Failing(error, 1000)
    with pytest.raises(expected) as caught:
        database.write(work)
    assert (work.attempts, rows(database)) == (4, 0)
    assert "\n" not in str(caught.value)


def test_no_longer_than_an_operator_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "gpu_passthrough_plugin.allocation.sql.database._PATIENCE_S", -1
    )
    work = Failing(exception.DBDeadlock(), 1000)
    with pytest.raises(errors.Conflict):
        database.write(work)
    assert work.attempts == 1


@pytest.mark.parametrize(
    "error", [errors.Refused("no"), errors.NoValidHost("none")]
)
def test_an_answer_is_not_asked_for_again(
    database: Database, error: errors.Error
) -> None:
    work = Failing(error, 1000)
    with pytest.raises(type(error)):
        database.write(work)
    assert (work.attempts, rows(database)) == (1, 0)


def test_oslo_dbs_for_ever_is_bounded_too() -> None:
    options = {"db_retry_interval": 0, "db_max_retries": -1}
    database = Database(LedgerSettings("sqlite://", options))
    database.write(lambda c: c.exec_driver_sql("CREATE TABLE t (x INTEGER)"))
    work = Failing(exception.DBDeadlock(), 1000)
    with pytest.raises(errors.Conflict):
        database.write(work)
    assert 1 < work.attempts < 100
    database.close()


FAILURES = (
    "due to lock timeout",
    "database is locked",
    "attempt to write a readonly database",
    "file is not a database",
    "database disk image is malformed",
    "unable to open database file",
    "could not connect to server: Connection refused",
)


def failure(text: str) -> sa.exc.OperationalError:
    """An error as SQLAlchemy raises the driver's."""
    return sa.exc.OperationalError("SELECT 1", {}, sqlite3.Error(text))


def messages_of_files(folder: Path) -> Iterator[tuple[str, str]]:
    """How a ledger in a file is refused that is not fit for use."""
    file = folder / "ledger.sqlite"
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{file}", AT_ONCE))
    yield "no file", refused(ledger.records)
    file.touch()
    yield "no schema", refused(ledger.records)
    ledger.sync()
    with ledger.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE alembic_version SET version_num = '9999'"
        )
    ledger.close()
    yield "newer schema", refused(ledger.sync)
    ledger.close()
    below_file = f"sqlite:///{file}/ledger.sqlite"
    other = SqlLedger(LedgerSettings(below_file, AT_ONCE))
    yield "cannot be created", refused(other.sync)
    yield "cannot be read", refused(other.records)


def refused(work: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(errors.Error) as caught:
        work(*arguments)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_golden_messages(database: Database, tmp_path: Path) -> None:
    messages = {
        text: refused(database.read, Failing(failure(text), 1000))
        for text in FAILURES
    }
    for error, _ in REPEATED[:2]:
        messages[type(error).__name__] = refused(
            database.write, Failing(error, 1000)
        )
    for url in ("nonsense", "oracle+cx_oracle://h/d"):
        messages[url] = refused(Database, LedgerSettings(url))
    for name, message in messages_of_files(tmp_path):
        messages[name] = message.replace(str(tmp_path), "FOLDER")
    assert not any("\n" in message for message in messages.values())
    path = Path(__file__).with_name("database_messages.txt")
    assert_golden(path, sections(messages))


@pytest.mark.parametrize(
    ("module", "url", "remedy"),
    [
        ("pymysql", "mysql+pymysql://u:secret@h/d", "install {}[mysql]"),
        ("pymysql", "mariadb+pymysql://h/d", "install {}[mysql]"),
        ("MySQLdb", "mysql://h/d", "mysql+pymysql:// with {}[mysql]"),
        ("psycopg", "postgresql+psycopg://h/d", "install {}[postgresql]"),
        ("psycopg2", "postgresql+psycopg2://h/d", "install {}[postgresql]"),
        (
            "asyncpg",
            "postgresql+asyncpg://h/d",
            "postgresql+psycopg:// with {}[postgresql]",
        ),
    ],
)
def test_a_missing_driver_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, remedy: str
) -> None:
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, module, None)
    message = refused(Database, LedgerSettings(url))
    assert message.startswith("Invalid: [database] connection ")
    assert module in message
    assert message.endswith(remedy.format("gpu-passthrough-plugin"))
    assert "secret" not in message


def test_a_password_is_not_told() -> None:
    settings = LedgerSettings("sqlite://me:secret@/nowhere.sqlite")
    assert "secret" not in repr(settings)
    assert "secret" not in Database(settings).name


# A server shows a claim rows that another changes before it writes them.


@pytest.fixture
def ledger() -> Iterator[SqlLedger]:
    opened = SqlLedger(LedgerSettings("sqlite://", AT_ONCE))
    opened.sync()
    opened.publish("h", [unit(1), unit(2)])
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "host"), [("gpu:3", None), ("nic:1", None), ("gpu:1", "none")]
)
def test_why_there_is_no_candidate(
    ledger: SqlLedger, text: str, host: str | None
) -> None:
    """The contract's own answer, and what a claim would raise."""
    reason = str(ledger.no_valid_host(request(text), host=host))
    general = LedgerDriver.no_valid_host(ledger, request(text), host=host)
    assert str(general) == reason
    with pytest.raises(errors.NoValidHost) as caught:
        ledger.claim(request(text), A, host=host)
    assert str(caught.value) == reason


def interfere(ledger: SqlLedger, before: str, times: int) -> list[int]:
    """Have another bump every generation before a statement of a kind."""
    done: list[int] = []

    def bump(
        _: object, cursor: sqlite3.Cursor, statement: str, *__: object
    ) -> None:
        if statement.startswith(before) and len(done) < times:
            done.append(1)
            cursor.execute("UPDATE unit SET generation = generation + 1")

    engine = ledger.database.engine
    sa.event.listen(engine, "before_cursor_execute", bump)
    return done


def test_a_claim_that_lost_chooses_again(ledger: SqlLedger) -> None:
    done = interfere(ledger, "UPDATE unit SET state", 2)
    held = ledger.claim(request("gpu:2"), A)
    assert len(done) == 2
    assert ledger.allocation(A) == held


def test_a_claim_that_always_lost_took_nothing(ledger: SqlLedger) -> None:
    done = interfere(ledger, "UPDATE unit SET state", 1000)
    with pytest.raises(errors.Conflict, match="gpu:2"):
        ledger.claim(request("gpu:2"), A)
    assert len(done) == 4
    assert ledger.allocations() == ()
    assert {r.state for r in ledger.records()} == {State.FREE}


def test_publishing_that_lost_is_done_again(ledger: SqlLedger) -> None:
    done = interfere(ledger, "UPDATE unit SET iommu_group", 1)
    shown = [unit(1, node=1), unit(2, node=1)]
    assert ledger.publish("h", shown).changed == tuple(shown)
    assert len(done) == 1
    assert [r.unit for r in ledger.records()] == shown


def test_publishing_that_always_lost_changed_nothing(
    ledger: SqlLedger,
) -> None:
    interfere(ledger, "DELETE FROM unit WHERE", 1000)
    with pytest.raises(errors.Conflict, match="the inventory of host h"):
        ledger.publish("h", [])
    assert [r.unit for r in ledger.records()] == [unit(1), unit(2)]

"""What an operator reads when a database fails, and its drivers' options."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import backends, failures
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from tests.unit.allocation.build import unit


@pytest.mark.parametrize(
    ("query", "part"),
    [("nonsense=1", "nonsense"), ("timeout=abc", "abc")],
)
def test_an_option_that_the_driver_does_not_accept(
    tmp_path: Path, query: str, part: str
) -> None:
    database = Database(LedgerSettings(f"sqlite:///{tmp_path}/l?{query}"))
    with pytest.raises(errors.Invalid, match=part) as caught:
        database.read(lambda c: None)
    assert "[database] connection" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://u@127.0.0.1:1/d?connect_timeout=abc",
        "mysql+pymysql://u@127.0.0.1:1/d?nonsense=1",
        "postgresql+psycopg://u@127.0.0.1:1/d?nonsense=1",
        "postgresql+psycopg://u@127.0.0.1:1/d?connect_timeout=abc",
    ],
)
def test_an_option_that_a_servers_driver_does_not_accept(url: str) -> None:
    # The drivers of servers are extras of the package.
    pytest.importorskip(url.partition(":")[0].partition("+")[2])
    options = {"max_retries": 1, "retry_interval": 0, "db_max_retries": 0}
    database = Database(LedgerSettings(url, options))
    with pytest.raises(errors.Invalid, match=r"nonsense|abc"):
        database.read(lambda c: None)


def test_a_port_that_is_no_number() -> None:
    with pytest.raises(errors.Invalid, match=r"\[database\] connection"):
        Database(LedgerSettings("mysql+pymysql://h:abc/d"))


def test_a_full_disk(tmp_path: Path) -> None:
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/l"))
    ledger.sync()

    def limit(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    ledger.database.read(limit)
    units = [unit(n, host="h", traits="LONG" * 50) for n in range(1, 200)]
    with pytest.raises(errors.Unavailable, match="is full") as caught:
        ledger.publish("h", units)
    assert str(tmp_path) in str(caught.value)
    assert "server" not in str(caught.value)


def test_messages_of_full_servers() -> None:
    for line in (
        'could not extend file "base/1": No space left on device',
        "(1114, \"The table 'unit' is full\")",
        "(1021, 'Disk full (/tmp/x); waiting')",
    ):
        assert "no space left" in failures.message("l", None, line)


def test_what_the_url_sets_is_not_replaced() -> None:
    url = sa.make_url(
        "postgresql+psycopg://h/d?connect_timeout=3&keepalives=0"
    )
    timeouts = backends.default_timeouts(url)
    assert "tcp_user_timeout" in timeouts
    assert timeouts.keys().isdisjoint({"connect_timeout", "keepalives"})
    timeouts = backends.default_timeouts(
        sa.make_url("mysql+pymysql://h/d?read_timeout=3")
    )
    assert set(timeouts) == {"connect_timeout", "write_timeout"}


def test_sqlites_timeout_of_the_url(tmp_path: Path) -> None:
    SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/l")).sync()
    holder = Database(LedgerSettings(f"sqlite:///{tmp_path}/l"))
    waiting = Database(
        LedgerSettings(
            f"sqlite:///{tmp_path}/l?timeout=0.2", {"db_max_retries": 0}
        )
    )
    begun = time.monotonic()

    def hold(_: sa.Connection) -> None:
        with pytest.raises((errors.Conflict, errors.Unavailable)):
            waiting.write(lambda c: None)

    holder.write(hold)
    assert time.monotonic() - begun < backends.BUSY_TIMEOUT_S / 2

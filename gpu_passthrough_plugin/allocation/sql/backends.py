"""What each database needs: SQLite, MariaDB and MySQL, PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import sqlite3
import time
import urllib.parse
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from oslo_db.sqlalchemy import exc_filters

from gpu_passthrough_plugin import errors

# SQLite.

# How long a transaction waits for another process's.
BUSY_TIMEOUT_S = 30
_NAP_S = 0.002
# What else waits, does so for a log that is written back or recovered.
_WAIT = "PRAGMA busy_timeout = 5000"

WRITES = "gpu_passthrough_writes"
"""The execution option of connections whose transactions write."""


def path(url: sa.URL) -> pathlib.Path | None:
    """The file of a SQLite URL; None for a server or one in memory."""
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    if str(name).startswith("file:"):
        name = urllib.parse.unquote(urllib.parse.urlsplit(name).path)
    return pathlib.Path(str(name))


def check(file: pathlib.Path) -> None:
    """Return when there is a file to open; SQLite would make an empty one.

    :raises Unavailable: when there is none, or it cannot be told.
    """
    try:
        file.stat()
    except FileNotFoundError as error:
        raise errors.Unavailable(
            f"there is no ledger {file}; run 'gpu-passthrough db sync'"
        ) from error
    except OSError as error:
        raise errors.Unavailable(
            f"the ledger {file} cannot be opened ({error.strerror}); check"
            " [database] connection"
        ) from error


def create(file: pathlib.Path) -> None:
    """Make an empty file that its owner alone reads, if there is none.

    :raises Unavailable: when that cannot be.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(file, flags, 0o600))
    except OSError as error:
        raise errors.Unavailable(
            f"the ledger {file} cannot be made ({error.strerror}); check"
            " [database] connection and that its folder is writable"
        ) from error


def engine(url: sa.URL, *, is_synchronous: bool) -> sa.Engine:
    """An engine whose connections are kept, and say when they write.

    A transaction that reads first and writes later fails at once when
    another wrote in between; one that says so first waits for its turn.
    oslo.db's engine opens the file for each transaction, and whoever
    closes it last writes the log back.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
    (transactions with the sqlite3 driver).

    :param is_synchronous: whether a commit is on the disk when it returns.
    """
    if path(url) is None:
        # In memory there is one connection, or there are many databases.
        made = sa.create_engine(
            url,
            poolclass=sa.StaticPool,
            connect_args={"check_same_thread": False},
        )
    else:
        made = sa.create_engine(url)
    synchronous = "FULL" if is_synchronous else "OFF"

    def set_up(
        connection: sa.engine.interfaces.DBAPIConnection, _: object
    ) -> None:
        # The driver begins nothing by itself.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute(_WAIT)
        cursor.close()

    sa.event.listen(made, "connect", set_up)
    sa.event.listen(made, "begin", _begin)
    exc_filters.register_engine(made)
    return made


def _begin(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("BEGIN")
        return
    file = connection.connection.dbapi_connection
    if file is None or not _has_turn(file.cursor()):
        # As any statement, which then says what is wrong.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _has_turn(cursor: sa.engine.interfaces.DBAPICursor) -> bool:
    """Whether a transaction that writes has begun.

    SQLite's own naps get longer the longer one waits, up to 100 ms, so
    that of many who wait some starve.
    """
    until = time.monotonic() + BUSY_TIMEOUT_S
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    return False
            else:
                return True
            if time.monotonic() > until:
                return False
            time.sleep(random.uniform(0, _NAP_S))  # noqa: S311 - no secret
    finally:
        cursor.execute(_WAIT)
        cursor.close()


def use_wal(engine: sa.Engine) -> None:
    """Let readers and a writer at the file at once; stays in the file."""
    with engine.connect() as connection:
        found = connection.connection.cursor()
        found.execute("PRAGMA journal_mode = WAL")
        found.close()


# Servers.

# How long a statement waits for a row that another holds; how long a
# server may take to be reached, and to answer.
LOCK_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 30
_MIGRATION_TIMEOUT_S = 60
# Any number that nobody else of this database locks with.
_MIGRATION = 0x6770_7074


def timeouts(url: sa.URL) -> Mapping[str, str]:
    """What the driver of a URL is told, where that says nothing itself.

    Source: PyMySQL, ``connections.Connection``; PostgreSQL's libpq,
    connection parameters.  psycopg cannot be told how long to wait for
    an answer.
    """
    by_driver: dict[str, dict[str, str]] = {
        "pymysql": {
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "read_timeout": str(ANSWER_TIMEOUT_S),
            "write_timeout": str(ANSWER_TIMEOUT_S),
        },
        "psycopg": {"connect_timeout": str(CONNECT_TIMEOUT_S)},
        "psycopg2": {"connect_timeout": str(CONNECT_TIMEOUT_S)},
    }
    if url.get_backend_name() == "sqlite":
        return {}
    wanted = by_driver.get(url.get_driver_name(), {})
    return {k: v for k, v in wanted.items() if k not in url.query}


def listen(engine: sa.Engine) -> None:
    """Set connections up: each statement sees what is committed by then.

    A claim holds a host's row first and reads its units after that; under
    MariaDB's default it would read them as they were before it waited.
    """
    sa.event.listen(
        engine,
        "connect",
        _set_up_mysql if engine.dialect.name == "mysql" else _set_up_postgres,
    )


def _set_up_mysql(
    connection: sa.engine.interfaces.DBAPIConnection, _: object
) -> None:
    _say(
        connection,
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}",
    )


def _set_up_postgres(
    connection: sa.engine.interfaces.DBAPIConnection, _: object
) -> None:
    _say(
        connection,
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL"
        " READ COMMITTED",
        f"SET SESSION lock_timeout = '{LOCK_TIMEOUT_S}s'",
    )
    connection.commit()


def _say(
    connection: sa.engine.interfaces.DBAPIConnection, *statements: str
) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


@contextlib.contextmanager
def alone(connection: sa.Connection) -> Iterator[None]:
    """Let nobody else migrate the same database meanwhile.

    :raises Unavailable: when somebody does, for too long.
    """
    backend = connection.dialect.name
    if backend == "postgresql":
        # Ends with the transaction.
        connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION))
        )
    if backend != "mysql":
        yield
        return
    name = f"gpu-passthrough-{_MIGRATION}"
    lock = sa.func.get_lock(name, _MIGRATION_TIMEOUT_S)
    if connection.execute(sa.select(lock)).scalar() != 1:
        raise errors.Unavailable(
            "another process changes the ledger's schema; try again when it"
            " is done"
        )
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock(name)))

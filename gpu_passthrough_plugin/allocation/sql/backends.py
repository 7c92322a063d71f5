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
from typing import Any

import sqlalchemy as sa
from oslo_db.sqlalchemy import exc_filters

from gpu_passthrough_plugin import errors

# SQLite.

# How long a writing transaction waits for another process's.
BUSY_TIMEOUT_S = 30
_MAX_NAP_S = 0.002
# For other statements, which only wait while the write-ahead log is written
# back or recovered.
_SET_BUSY_TIMEOUT = "PRAGMA busy_timeout = 5000"

WRITES = "gpu_passthrough_writes"
"""The execution option of connections whose transactions write."""


def sqlite_path(url: sa.URL) -> pathlib.Path | None:
    """Return the file of a SQLite URL; None for a server or memory."""
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    if str(name).startswith("file:"):
        name = urllib.parse.unquote(urllib.parse.urlsplit(name).path)
    return pathlib.Path(str(name))


def require_file(file: pathlib.Path) -> None:
    """Raise if there is no ledger file; SQLite would create an empty one.

    :raises Unavailable: when it does not exist or cannot be accessed.
    """
    try:
        file.stat()
    except FileNotFoundError as error:
        raise errors.Unavailable(
            f"ledger {file} does not exist; run 'gpu-passthrough db sync'"
        ) from error
    except OSError as error:
        raise errors.Unavailable(
            f"ledger {file} cannot be opened ({error.strerror}); check"
            " [database] connection"
        ) from error


def create_file(file: pathlib.Path) -> None:
    """Create an empty file that only its owner can read, if there is none.

    :raises Unavailable: when it cannot be created.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(file, flags, 0o600))
    except OSError as error:
        raise errors.Unavailable(
            f"ledger {file} cannot be created ({error.strerror}); check"
            " [database] connection and that its folder is writable"
        ) from error


def sqlite_engine(url: sa.URL, *, is_synchronous: bool) -> sa.Engine:
    """Return an engine that keeps connections and begins writes at once.

    A transaction that reads first and writes later fails at once when
    another wrote in between; one that begins as a writer waits for its
    turn.  oslo.db's engine would open the file for each transaction, and
    the last one to close it would write the log back.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
    (transactions with the sqlite3 driver).

    :param url: its option ``timeout`` is how many seconds any transaction
        waits for another process's.
    :param is_synchronous: whether a commit is on the disk when it returns.
    """
    if sqlite_path(url) is None:
        # Each connection to memory would be a database of its own.
        engine = sa.create_engine(
            url,
            poolclass=sa.StaticPool,
            connect_args={"check_same_thread": False},
        )
    else:
        engine = sa.create_engine(url)
    synchronous = "FULL" if is_synchronous else "OFF"
    given_s = url.query.get("timeout")
    busy_s = None if given_s is None else float(str(given_s))
    set_busy = _SET_BUSY_TIMEOUT
    if busy_s is not None:
        set_busy = f"PRAGMA busy_timeout = {int(busy_s * 1000)}"

    def set_up(
        connection: sa.engine.interfaces.DBAPIConnection, _: object
    ) -> None:
        # The driver begins no transaction by itself.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute(set_busy)
        cursor.close()

    def begin(connection: sa.Connection) -> None:
        timeout_s = BUSY_TIMEOUT_S if busy_s is None else busy_s
        _begin(connection, timeout_s, set_busy)

    sa.event.listen(engine, "connect", set_up)
    sa.event.listen(engine, "begin", begin)
    exc_filters.register_engine(engine)
    return engine


def _begin(connection: sa.Connection, timeout_s: float, set_busy: str) -> None:
    """Begin a transaction.

    :param timeout_s: how long one that writes waits for its turn.
    :param set_busy: sets the timeout of other statements.
    """
    if not connection.get_execution_options().get(WRITES):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.dbapi_connection
    cursor = None if raw is None else raw.cursor()
    if cursor is None or not _begin_writing(cursor, timeout_s, set_busy):
        # Fails like any statement, with SQLAlchemy's error.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_writing(
    cursor: sa.engine.interfaces.DBAPICursor, timeout_s: float, set_busy: str
) -> bool:
    """Begin a transaction that writes; return whether that was possible.

    SQLite's own waiting sleeps longer the longer it waits, up to 100 ms,
    so that of many clients some starve.
    """
    deadline = time.monotonic() + timeout_s
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
            if time.monotonic() > deadline:
                return False
            time.sleep(random.uniform(0, _MAX_NAP_S))  # noqa: S311 - no secret
    finally:
        cursor.execute(set_busy)
        cursor.close()


@contextlib.contextmanager
def foreign_keys_off(connection: sa.Connection) -> Iterator[None]:
    """Enforce no foreign key inside, where no transaction has begun yet."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys = OFF")
        yield
    finally:
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def use_wal(engine: sa.Engine) -> None:
    """Let readers work while a writer does; the file remembers it."""
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


# Servers.

# How long a statement waits for a locked row; how long a server may take
# to accept a connection, and to answer.
LOCK_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 30
KEEPALIVE_IDLE_S = 10
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 4
_MIGRATION_TIMEOUT_S = 60
_MIGRATION_ANSWER_S = 3600
# Any number that no other program locks with in this database.
_MIGRATION_LOCK = 0x6770_7074


def default_timeouts(url: sa.URL) -> Mapping[str, str]:
    """Return timeouts for a URL's driver, except those that the URL sets.

    libpq has none for an answer: ``tcp_user_timeout`` and keepalives notice
    a host that is gone; ``set_up_connections`` bounds one that is silent.
    Source: PyMySQL, ``connections.Connection``; PostgreSQL's libpq,
    connection parameters.
    """
    libpq = {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "tcp_user_timeout": str(ANSWER_TIMEOUT_S * 1000),
        "keepalives": "1",
        "keepalives_idle": str(KEEPALIVE_IDLE_S),
        "keepalives_interval": str(KEEPALIVE_INTERVAL_S),
        "keepalives_count": str(KEEPALIVE_COUNT),
    }
    by_driver: dict[str, dict[str, str]] = {
        "pymysql": {
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "read_timeout": str(ANSWER_TIMEOUT_S),
            "write_timeout": str(ANSWER_TIMEOUT_S),
        },
        "psycopg": libpq,
        "psycopg2": libpq,
    }
    if url.get_backend_name() == "sqlite":
        return {}
    timeouts = by_driver.get(url.get_driver_name(), {})
    return {k: v for k, v in timeouts.items() if k not in url.query}


def set_up_connections(engine: sa.Engine) -> None:
    """Make each statement see what is committed when it begins.

    A claim locks a host's row first and reads its units afterwards; with
    MariaDB's default isolation it would read them as they were before it
    waited for the lock.

    Statements and locks of PostgreSQL have timeouts, unless the URL's
    ``options`` set them.
    """
    if engine.dialect.name == "mysql":
        sa.event.listen(engine, "connect", _set_up_mysql)
        return
    given = str(engine.url.query.get("options", ""))
    timeouts = {
        "lock_timeout": LOCK_TIMEOUT_S,
        "statement_timeout": ANSWER_TIMEOUT_S,
    }
    statements = [
        f"SET SESSION {name} = '{timeout_s}s'"
        for name, timeout_s in timeouts.items()
        if name not in given
    ]

    def set_up_postgres(
        connection: sa.engine.interfaces.DBAPIConnection, _: object
    ) -> None:
        _execute(connection, _READ_COMMITTED, *statements)
        connection.commit()

    sa.event.listen(engine, "connect", set_up_postgres)


_READ_COMMITTED = (
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED"
)


def _set_up_mysql(
    connection: sa.engine.interfaces.DBAPIConnection, _: object
) -> None:
    _execute(
        connection,
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT_S}",
    )


def _execute(
    connection: sa.engine.interfaces.DBAPIConnection, *statements: str
) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


@contextlib.contextmanager
def migration_lock(connection: sa.Connection) -> Iterator[None]:
    """Keep other processes from migrating the same database.

    :raises Unavailable: when another process migrates it for too long.
    """
    backend = connection.dialect.name
    # Copying a table may take longer than any other statement.
    raw: Any = connection.connection.dbapi_connection
    if hasattr(raw, "_read_timeout"):
        # PyMySQL has no other way to change it.
        raw._read_timeout = _MIGRATION_ANSWER_S
    if backend == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        # The statement below waits without end otherwise.
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = '{_MIGRATION_TIMEOUT_S}s'"
        )
        # Ends with the transaction.
        connection.execute(
            sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK))
        )
    if backend != "mysql":
        yield
        return
    name = f"gpu-passthrough-{_MIGRATION_LOCK}"
    lock = sa.func.get_lock(name, _MIGRATION_TIMEOUT_S)
    if connection.execute(sa.select(lock)).scalar() != 1:
        raise errors.Unavailable(
            "another process is upgrading the ledger's schema; try again"
            " when it has finished"
        )
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock(name)))

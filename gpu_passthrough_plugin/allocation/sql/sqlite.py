"""What SQLite needs that a server does not."""

from __future__ import annotations

import os
import pathlib
import urllib.parse

import sqlalchemy as sa

from gpu_passthrough_plugin import errors

# How long a statement waits for another process's lock.
BUSY_TIMEOUT_S = 30

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


def listen(engine: sa.Engine) -> None:
    """Set connections up, and begin writing transactions as such.

    One that reads first and writes later fails at once when another wrote
    in between; one that says so first waits for its turn.

    Source: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html
    (transactions with the sqlite3 driver).
    """
    sa.event.listen(engine, "connect", _set_up)
    sa.event.listen(engine, "begin", _begin)


def _set_up(
    connection: sa.engine.interfaces.DBAPIConnection, _: object
) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(WRITES):
        # oslo.db's listener came first and began one that waits to lock;
        # nothing was read in it yet.
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def use_wal(engine: sa.Engine) -> None:
    """Let readers and a writer at the file at once; stays in the file."""
    with engine.connect() as connection:
        found = connection.connection.cursor()
        found.execute("PRAGMA journal_mode = WAL")
        found.close()

"""What a database's errors mean: which pass, and what an operator reads."""

from __future__ import annotations

import contextlib
import os
import pathlib

import sqlalchemy as sa
from oslo_db import exception

# SQLite's index of its write-ahead log grows by 32 KiB.
_MIN_FREE_BYTES = 64 * 1024

# oslo.db does not translate all errors of SQLAlchemy.
FAILURES = (
    exception.DBError,
    exception.RetryRequest,
    sa.exc.DBAPIError,
)


def may_help(error: Exception) -> bool:
    """Return whether repeating the transaction may succeed."""
    return is_connection_lost(error) or isinstance(
        error,
        exception.DBDeadlock
        | exception.DBDuplicateEntry
        | exception.RetryRequest,
    )


# SQLite has only texts for these, not error classes.
# Source: https://www.sqlite.org/rescode.html; the first is PostgreSQL's.
_MEANINGS = (
    (
        "due to lock timeout",
        "has a host row that another process keeps locked; check what that"
        " process does, and try again",
    ),
    (
        "database is locked",
        "stays locked by another process; check which one has it open"
        " (fuser), and try again",
    ),
    (
        # PostgreSQL's (53100), and MariaDB's (1021, 1114).
        "No space left",
        "has no space left on its server; free some there",
    ),
    ("is full", "has no space left on its server; free some there"),
    ("Disk full", "has no space left on its server; free some there"),
    (
        "readonly database",
        "is read-only; make the file and its folder writable",
    ),
    (
        "not a database",
        "is not an SQLite database; check [database] connection, or move the"
        " file away and run 'gpu-passthrough db sync'",
    ),
    (
        "malformed",
        "is corrupt; restore a backup, or move the file away and run"
        " 'gpu-passthrough db sync', then 'gpu-passthrough inventory sync' on"
        " each host",
    ),
    (
        "unable to open",
        "cannot be opened; check that the file is readable and its folder"
        " writable (SQLite keeps its write-ahead log there)",
    ),
)


# oslo.db recognises psycopg2's messages; these are psycopg's and the
# server's.
# Source: PostgreSQL's libpq, fe-connect.c and fe-misc.c; errcodes 57P01 to
# 57P03; psycopg, connection.py and generators.py.
_CONNECTION_LOST = (
    "connection refused",
    "connection reset",
    "connection is closed",
    "connection is lost",
    "connection timeout",
    "server closed the connection",
    "could not receive data",
    "could not send data",
    "terminating connection",
    "the database system is",
)


def is_connection_lost(error: Exception) -> bool:
    """Return whether the server went away, or is not reachable yet."""
    if isinstance(error, exception.DBConnectionError):
        return True
    inner = getattr(error, "inner_exception", None) or error
    if not isinstance(inner, sa.exc.DBAPIError):
        return False
    line = str(inner.orig).lower()
    return inner.connection_invalidated or any(
        text in line for text in _CONNECTION_LOST
    )


def final_error(error: Exception) -> Exception:
    """Return the error to raise after the last attempt."""
    if isinstance(error, exception.RetryRequest):
        inner: Exception = error.inner_exc
        return inner
    return error


def first_line(error: Exception) -> str:
    """Return the database driver's message, without the statement."""
    inner = getattr(error, "inner_exception", None) or error
    origin = getattr(inner, "orig", None) or inner
    return str(origin).partition("\n")[0]


def is_option_refused(line: str) -> bool:
    """Return whether psycopg does not accept an option of the URL.

    Source: PostgreSQL's libpq, fe-connect.c; psycopg, conninfo.py.
    """
    return "connection option" in line or line.startswith("bad value for ")


def message(name: str, file: pathlib.Path | None, line: str) -> str:
    """Return what an operator reads of a database that failed.

    :param name: of the ledger, without a password.
    :param file: of SQLite; None for a server.
    :param line: the driver's message, without a password.
    """
    if file is not None and _is_full(file, line):
        return (
            f"ledger {name} cannot be written, because the file system of"
            f" {file.parent} is full; free some space there"
        )
    if "constraint" in line.lower():
        return (
            f"ledger {name} refuses a row ({line}); report this line, with"
            " what 'gpu-passthrough unit list' says"
        )
    for text, meaning in _MEANINGS:
        if text in line:
            return f"ledger {name} {meaning}"
    return (
        f"ledger {name} does not answer ({line}); check [database] connection"
        " and that its server is running"
    )


def _is_full(file: pathlib.Path, line: str) -> bool:
    """Return whether SQLite failed because its file system is full.

    Source: https://www.sqlite.org/rescode.html (SQLITE_FULL).  The
    write-ahead log and its index fail with an I/O error instead.
    """
    if "disk is full" in line:
        return True
    if "disk I/O error" not in line and "unable to open" not in line:
        return False
    with contextlib.suppress(OSError):
        status = os.statvfs(file.parent)
        return status.f_bavail * status.f_frsize < _MIN_FREE_BYTES
    return False

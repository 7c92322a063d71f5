"""A database's errors as ours: the one place that translates them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors

# SQLite has no error classes for these, only its own texts.
# Source: https://www.sqlite.org/rescode.html; the first is PostgreSQL's.
_TEXTS = (
    (
        "due to lock timeout",
        "has a host whose row another process holds for too long; see what"
        " that one does, and try again",
    ),
    (
        "database is locked",
        "is locked by another process for too long; see who has it open"
        " (fuser), and try again",
    ),
    (
        "readonly database",
        "is read-only; make the file and its folder writable",
    ),
    (
        "not a database",
        "is no SQLite database; check [database] connection, or move the"
        " file away and run 'gpu-passthrough db sync'",
    ),
    (
        "malformed",
        "is damaged; put a copy in its place, or move it away and run"
        " 'gpu-passthrough db sync', then 'gpu-passthrough inventory sync' on"
        " each host",
    ),
    (
        "unable to open",
        "cannot be opened; check that the file can be read and its folder"
        " written, where SQLite keeps what is not in the file yet",
    ),
)


# oslo.db knows psycopg2's words; these are psycopg's and the server's.
# Source: PostgreSQL's libpq, fe-connect.c and fe-misc.c; errcodes 57P01 to
# 57P03; psycopg, connection.py and generators.py.
_LOST = (
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


def is_lost(error: Exception) -> bool:
    """Whether the server went away, or is not there yet."""
    if isinstance(error, exception.DBConnectionError):
        return True
    inner = getattr(error, "inner_exception", None) or error
    if not isinstance(inner, sa.exc.DBAPIError):
        return False
    line = str(inner.orig).lower()
    return inner.connection_invalidated or any(w in line for w in _LOST)


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise a database's errors as ours.

    :param name: of the ledger, without a password.
    :raises Unavailable: when it does not answer, or not as it should.
    :raises Conflict: when others changed the same rows time and again.
    """
    try:
        yield
    except (exception.DBDuplicateEntry, exception.DBDeadlock) as error:
        raise errors.Conflict(
            f"the ledger {name} was changed by others at each attempt"
            f" ({_line(error)}); try again"
        ) from error
    except (exception.DBError, sa.exc.SQLAlchemyError) as error:
        raise errors.Unavailable(_message(name, error)) from error


def _message(name: str, error: Exception) -> str:
    line = _line(error)
    for text, meaning in _TEXTS:
        if text in line:
            return f"the ledger {name} {meaning}"
    return (
        f"the ledger {name} does not answer ({line}); check [database]"
        " connection and that its server runs"
    )


def _line(error: Exception) -> str:
    """The driver's own words, without the statement."""
    inner = getattr(error, "inner_exception", None) or error
    origin = getattr(inner, "orig", None) or inner
    return str(origin).partition("\n")[0]

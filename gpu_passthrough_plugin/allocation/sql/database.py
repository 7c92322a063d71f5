"""Transactions on the ledger's database, repeated where that helps."""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import exception
from oslo_db.sqlalchemy import engines

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import backends

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

_LOG = logging.getLogger(__name__)

# oslo.db's names of what its engines take; its own waiting for a server,
# 10 times 10 s, is longer than an operator does.
_ENGINE_OPTIONS: Mapping[str, object] = {
    "mysql_sql_mode": "TRADITIONAL",
    "mysql_wsrep_sync_wait": None,
    "connection_recycle_time": 3600,
    "connection_debug": 0,
    "connection_parameters": "",
    "connection_trace": False,
    "max_pool_size": None,
    "max_overflow": None,
    "pool_timeout": None,
    "max_retries": 3,
    "retry_interval": 2,
    "sqlite_synchronous": True,
}
_RETRIES = 20
_PATIENCE_S = 30.0
_RETRY_INTERVAL_S = 0.05
_MAX_RETRY_INTERVAL_S = 2.0


class Database:
    """A database that is opened when it is first used.

    Not oslo.db's ``enginefacade``: that reads the process's global
    configuration, which inside Nova is Nova's.
    """

    def __init__(self, settings: LedgerSettings) -> None:
        """Make one.

        :raises Invalid: when the URL is none, or its driver not installed.
        """
        self._options = settings.options
        try:
            given = sa.make_url(settings.connection)
            self.url = _known(given)
            self.url.get_dialect().import_dbapi()
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
            raise errors.Invalid(
                "[database] connection is no URL of a database that"
                " SQLAlchemy knows; wanted such as sqlite:////PATH"
            ) from error
        except ImportError as error:
            raise errors.Invalid(
                f"[database] connection needs a driver ({error}); install it"
            ) from error
        self.name = given.render_as_string(hide_password=True)
        self.file = backends.path(self.url)
        if self.file is not None:
            self.name = str(self.file)

    def read(self, work: Work[T]) -> T:
        """What ``work`` returns from one transaction that only reads."""
        return self._repeated(lambda: self._once(self.engine, work))

    def write(
        self, work: Work[T], *, unsure: Callable[[], None] | None = None
    ) -> T:
        """What ``work`` returns from one transaction, once committed.

        It is done again, from its start, when the database lost it to
        another's, and when it raises oslo.db's ``RetryRequest``.

        :param unsure: called when the connection was lost while it was
            committed, so that nobody knows whether it was.
        """
        return self._repeated(lambda: self._once(self._writer, work, unsure))

    def outside(self, work: Callable[[sa.Engine], None]) -> None:
        """Do what cannot be done in a transaction."""
        self._repeated(lambda: work(self.engine))

    def close(self) -> None:
        """Close the connections; the next transaction opens new ones."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.dispose()

    @functools.cached_property
    def engine(self) -> sa.Engine:
        """The engine; making it waits for a server to be there."""
        # It logs with a traceback what it raises as well.
        logging.getLogger("oslo_db.sqlalchemy.exc_filters").setLevel(
            logging.ERROR
        )
        # So does the pool, of a connection that was cut; and each attempt
        # to reach a server is counted.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        logging.getLogger("oslo_db.sqlalchemy.engines").setLevel(logging.ERROR)
        options = {
            name: self._options.get(name, default)
            for name, default in _ENGINE_OPTIONS.items()
        }
        if self.url.get_backend_name() == "sqlite":
            is_synchronous = bool(options["sqlite_synchronous"])
            return backends.engine(self.url, is_synchronous=is_synchronous)
        url = self.url.update_query_dict(backends.timeouts(self.url))
        engine = _created(url, options)
        backends.listen(engine)
        # Whether the server is there was tried on a connection that is not
        # set up.
        engine.dispose()
        return engine

    @property
    def _writer(self) -> sa.Engine:
        return self.engine.execution_options(**{backends.WRITES: True})

    def _once(
        self,
        engine: sa.Engine,
        work: Work[T],
        unsure: Callable[[], None] | None = None,
    ) -> T:
        is_done = False
        try:
            with engine.begin() as connection:
                result = work(connection)
                is_done = True
        except Exception as error:
            if is_done and unsure and is_lost(error):
                unsure()
            raise
        return result

    def _repeated(self, once: Callable[[], T]) -> T:
        until = time.monotonic() + _PATIENCE_S
        repeats = 0
        with translated(self.name):
            while True:
                try:
                    return once()
                except _FAILURES as error:
                    is_over = time.monotonic() > until
                    if not _may_help(error) or repeats >= self._most:
                        is_over = True
                    if is_over:
                        raise _inner(error) from error
                    _LOG.debug("ledger transaction repeated: %s", error)
                self._pause(repeats)
                repeats += 1

    @property
    def _most(self) -> int:
        """How often a transaction is repeated; -1 is oslo.db's for ever."""
        most = int(self._number("db_max_retries", _RETRIES))
        return most if most >= 0 else _RETRIES

    def _pause(self, repeats: int) -> None:
        interval_s = self._number("db_retry_interval", _RETRY_INTERVAL_S)
        most_s = self._number("db_max_retry_interval", _MAX_RETRY_INTERVAL_S)
        longest_s = min(most_s, interval_s * 2**repeats)
        time.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret

    def _number(self, name: str, default: float) -> float:
        return float(str(self._options.get(name, default)))


def _known(url: sa.URL) -> sa.URL:
    """The URL by the name that oslo.db has for what it names."""
    name = url.drivername
    if url.get_backend_name() == "mariadb":
        name = name.replace("mariadb", "mysql", 1)
    return url.set(drivername=name)


def _created(url: sa.URL, options: dict[str, object]) -> sa.Engine:
    """An engine that has been connected once.

    :raises DBConnectionError: when the server is not there, or goes away
        while SQLAlchemy asks it what it is.  oslo.db's filter of errors
        raises ``NotImplementedError`` then: that connection has no engine
        that it could look at.  Of some questions SQLAlchemy takes that
        for an answer, and finds the connection closed at the next.
    """
    try:
        engine: sa.Engine = engines.create_engine(url, **options)
    except (NotImplementedError, sa.exc.ResourceClosedError) as error:
        inner = error.__cause__ or error
        raise exception.DBConnectionError(inner) from error
    return engine


def _inner(error: Exception) -> Exception:
    """What is to be said after the last attempt."""
    if isinstance(error, exception.RetryRequest):
        inner: Exception = error.inner_exc
        return inner
    return error


# Some of SQLAlchemy's errors oslo.db lets through.
_FAILURES = (
    exception.DBError,
    exception.RetryRequest,
    sa.exc.DBAPIError,
)


def _may_help(error: Exception) -> bool:
    """Whether the same again may succeed."""
    return is_lost(error) or isinstance(
        error,
        exception.DBDeadlock
        | exception.DBDuplicateEntry
        | exception.RetryRequest,
    )


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

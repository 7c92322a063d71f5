"""How a transaction runs on the ledger's database: retries and errors."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pathlib
import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa
from oslo_db import exception
from oslo_db.sqlalchemy import engines

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import backends, failures
from gpu_passthrough_plugin.formats import url

T = TypeVar("T")
Work = Callable[[sa.Connection], T]

_LOG = logging.getLogger(__name__)

# The options of oslo.db's engines.  Its own default, to try a server 10
# times at intervals of 10 s, is longer than an operator waits.
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
_MAX_RETRIES = 20
_PATIENCE_S = 30.0
_RETRY_INTERVAL_S = 0.05
_MAX_RETRY_INTERVAL_S = 2.0


# The extra of this package that has a driver, by the driver's module and by
# the server: setup.cfg, [extras].
_EXTRAS = {
    "pymysql": "mysql",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
}
_DRIVERS = {
    "mysql": "pymysql",
    "mariadb": "pymysql",
    "postgresql": "psycopg",
}


class Database:
    """A database that is opened when it is first used.

    This does not use oslo.db's ``enginefacade``, which reads the process's
    global configuration; inside Nova that is Nova's.

    :ivar location: its URL without password.
    :ivar name: the same for messages; of SQLite the file.
    :ivar file: the SQLite file; None for a server or memory.
    """

    def __init__(self, settings: LedgerSettings) -> None:
        """Check the URL; nothing is opened yet.

        :raises Invalid: when it is not a URL, or its driver is not
            installed.
        """
        self._options = settings.options
        self._secrets = url.secrets(settings.connection)
        try:
            self.url = _normalised(sa.make_url(settings.connection))
            self.url.get_dialect().import_dbapi()
        # A port that is no number is a ValueError.
        except (
            sa.exc.ArgumentError,
            sa.exc.NoSuchModuleError,
            ValueError,
        ) as error:
            raise errors.Invalid(
                "[database] connection is not a database URL that SQLAlchemy"
                " supports; expected such as sqlite:////PATH"
            ) from error
        except ImportError as error:
            raise errors.Invalid(
                "[database] connection needs a Python driver that is not"
                f" installed ({error}); {_driver_remedy(self.url, error)}"
            ) from error
        self.location = url.redacted(settings.connection)
        self.file = backends.sqlite_path(self.url)
        self._opened_file: os.stat_result | None = None
        self.name = str(self.file or self.location)

    def read(self, work: Work[T]) -> T:
        """Return what ``work`` returns from a transaction that only reads."""
        return self._retried(lambda: self._once(self.engine, work))

    def write(
        self,
        work: Work[T],
        *,
        on_outcome_unknown: Callable[[], None] | None = None,
    ) -> T:
        """Return what ``work`` returns from one committed transaction.

        The transaction is repeated from its start when the database aborted
        it for another one, and when ``work`` raises oslo.db's
        ``RetryRequest``.

        :param on_outcome_unknown: called when the connection was lost
            during COMMIT, so that it may have been committed or not.
        """
        return self._retried(
            lambda: self._once(self._writer, work, on_outcome_unknown)
        )

    def migrate(self, work: Work[None]) -> None:
        """Do work that alters tables, in one transaction if possible.

        SQLite copies a table to alter it, with foreign keys off: dropping
        the old one would delete what refers to it.
        """
        if self.engine.dialect.name != "sqlite":
            self.write(work)
            return

        def once() -> None:
            with (
                self._writer.connect() as connection,
                backends.foreign_keys_off(connection),
                connection.begin(),
            ):
                work(connection)

        self._retried(once)

    def without_transaction(self, work: Callable[[sa.Engine], None]) -> None:
        """Do work that cannot be done in a transaction."""
        self._retried(lambda: work(self.engine))

    def close(self) -> None:
        """Close the connections; the next transaction opens new ones."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.dispose()

    def close_if_replaced(self) -> None:
        """Close the connections to a file that is in its place no more."""
        if self.file is None or "engine" not in self.__dict__:
            return
        now, before = _status(self.file), self._opened_file
        if not (now and before and os.path.samestat(now, before)):
            self.close()

    @functools.cached_property
    def engine(self) -> sa.Engine:
        """The engine; creating it waits for a server to be reachable."""
        # oslo.db logs, with a traceback, what it raises as well.
        logging.getLogger("oslo_db.sqlalchemy.exc_filters").setLevel(
            logging.ERROR
        )
        # So does the pool when a connection was cut; and each attempt to
        # reach a server is logged.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        logging.getLogger("oslo_db.sqlalchemy.engines").setLevel(logging.ERROR)
        try:
            return self._new_engine()
        except (
            ArithmeticError,
            TypeError,
            ValueError,
            sa.exc.ArgumentError,
            sa.exc.SAWarning,
        ) as error:
            raise self._wrong_option(str(error)) from error

    def _new_engine(self) -> sa.Engine:
        """Return an engine that has connected once.

        :raises TypeError: or ValueError, when the driver does not know one
            of the URL's options, or its value.
        """
        options = {
            name: self._options.get(name, default)
            for name, default in _ENGINE_OPTIONS.items()
        }
        if self.url.get_backend_name() == "sqlite":
            # Before it is opened: what replaces it later differs.
            self._opened_file = _status(self.file) if self.file else None
            is_synchronous = bool(options["sqlite_synchronous"])
            with warnings.catch_warnings():
                # SQLAlchemy's, of an option that pysqlite does not have.
                warnings.simplefilter("error", sa.exc.SAWarning)
                engine = backends.sqlite_engine(
                    self.url, is_synchronous=is_synchronous
                )
                engine.connect().close()
            return engine
        timeouts = backends.default_timeouts(self.url)
        engine = _server_engine(self.url.update_query_dict(timeouts), options)
        backends.set_up_connections(engine)
        # The connection that was tried is not set up.
        engine.dispose()
        return engine

    def _wrong_option(self, line: str) -> errors.Invalid:
        shown = url.hidden(" ".join(line.split()), self._secrets)
        return errors.Invalid(
            "[database] connection has an option that the driver"
            f" {self.url.get_driver_name()} does not accept ({shown}); correct"
            " what follows the ? in it"
        )

    @property
    def _writer(self) -> sa.Engine:
        return self.engine.execution_options(**{backends.WRITES: True})

    def _once(
        self,
        engine: sa.Engine,
        work: Work[T],
        on_outcome_unknown: Callable[[], None] | None = None,
    ) -> T:
        is_done = False
        try:
            with engine.begin() as connection:
                result = work(connection)
                is_done = True
        except Exception as error:
            if (
                is_done
                and on_outcome_unknown
                and failures.is_connection_lost(error)
            ):
                on_outcome_unknown()
            raise
        return result

    def _retried(self, once: Callable[[], T]) -> T:
        deadline = time.monotonic() + _PATIENCE_S
        retries = 0
        with self._translated_errors():
            while True:
                try:
                    return once()
                except failures.FAILURES as error:
                    is_over = time.monotonic() > deadline
                    if (
                        not failures.may_help(error)
                        or retries >= self._max_retries
                    ):
                        is_over = True
                    if is_over:
                        raise failures.final_error(error) from error
                    _LOG.debug("ledger transaction repeated: %s", error)
                self._pause(retries)
                retries += 1

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise the database's errors as this package's.

        :raises Unavailable: when the database does not answer or fails.
        :raises Conflict: when other clients changed the same rows each time.
        :raises Invalid: when its driver does not accept an option.
        """
        try:
            yield
        except (exception.DBDuplicateEntry, exception.DBDeadlock) as error:
            raise errors.Conflict(
                f"other clients changed the same rows of ledger {self.name} at"
                f" each attempt ({self._shown(error)}); try again"
            ) from error
        except (exception.DBError, sa.exc.SQLAlchemyError) as error:
            line = self._shown(error)
            if failures.is_option_refused(line):
                raise self._wrong_option(line) from error
            raise errors.Unavailable(
                failures.message(self.name, self.file, line)
            ) from error

    def _shown(self, error: Exception) -> str:
        return url.hidden(failures.first_line(error), self._secrets)

    @property
    def _max_retries(self) -> int:
        """How often a transaction is repeated.

        oslo.db's -1, without end, is bounded here.
        """
        number = int(self._number("db_max_retries", _MAX_RETRIES))
        return number if number >= 0 else _MAX_RETRIES

    def _pause(self, retries: int) -> None:
        interval_s = self._number("db_retry_interval", _RETRY_INTERVAL_S)
        max_s = self._number("db_max_retry_interval", _MAX_RETRY_INTERVAL_S)
        longest_s = min(max_s, interval_s * 2**retries)
        time.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret

    def _number(self, name: str, default: float) -> float:
        return float(str(self._options.get(name, default)))


def _status(file: pathlib.Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def _normalised(given: sa.URL) -> sa.URL:
    """Return the URL with the name that oslo.db has for its driver."""
    name = given.drivername
    if given.get_backend_name() == "mariadb":
        name = name.replace("mariadb", "mysql", 1)
    return given.set(drivername=name)


def _server_engine(given: sa.URL, options: dict[str, object]) -> sa.Engine:
    """Return an engine that has connected once.

    :raises DBConnectionError: when the server is not reachable, or goes
        away while SQLAlchemy asks for its version and modes.  oslo.db's
        error filter raises ``NotImplementedError`` then, since that
        connection has no engine yet; SQLAlchemy takes this for the answer
        to some questions, and finds the connection closed at the next.
    """
    try:
        engine: sa.Engine = engines.create_engine(given, **options)
    except (NotImplementedError, sa.exc.ResourceClosedError) as error:
        inner = error.__cause__ or error
        raise exception.DBConnectionError(inner) from error
    return engine


def _driver_remedy(given: sa.URL, error: ImportError) -> str:
    """Return how to get a database driver that is not installed."""
    server = given.get_backend_name()
    driver = _DRIVERS.get(server)
    if error.name in _EXTRAS:
        return f"install gpu-passthrough-plugin[{_EXTRAS[error.name]}]"
    if driver is None:
        return "install it"
    return (
        f"install it, or use {server}+{driver}:// with"
        f" gpu-passthrough-plugin[{_EXTRAS[driver]}]"
    )

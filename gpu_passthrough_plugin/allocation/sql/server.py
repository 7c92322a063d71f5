"""What MariaDB, MySQL and PostgreSQL need that SQLite does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from gpu_passthrough_plugin import errors

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

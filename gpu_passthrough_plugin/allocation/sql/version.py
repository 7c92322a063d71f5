"""Which version of the tables a database has, and how it gets the newest.

The tables themselves are in ``schema``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql import backends
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.schema import host, metadata

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision in ``migrations/versions``, oldest first."""

_MIGRATIONS = "gpu_passthrough_plugin.allocation.sql:migrations"
# Alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))
# How many malformed rows a refusal names.
_NAMED_ROWS = 3


def read_version(database: Database) -> str:
    """Return the schema that a database has; empty if it has none."""
    if database.file is not None:
        backends.require_file(database.file)
    return database.read(_read_version)


def _read_version(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return ""
    version = connection.execute(sa.select(_VERSION.c.version_num)).scalar()
    return version or ""


def require_current_version(database: Database) -> None:
    """Raise if a database does not have this release's schema.

    :raises Unavailable: when it has none, or an older or newer one.
    """
    version = read_version(database)
    if version == REVISIONS[-1]:
        return
    _require_not_newer(database, version)
    has = f"has schema {version}" if version else "has no schema yet"
    raise errors.Unavailable(
        f"ledger {database.name} {has}, expected {REVISIONS[-1]}; run"
        " 'gpu-passthrough db sync'"
    )


def sync(database: Database) -> str:
    """Upgrade a database to this release's schema; return its version.

    In one transaction, where the database can; MariaDB and MySQL cannot,
    and the next call continues one that was interrupted.

    :raises Unavailable: when the schema is newer than this release.
    :raises Refused: when a row is malformed; nothing is changed then.
    """
    if database.file is not None:
        backends.create_file(database.file)
    _require_not_newer(database, read_version(database))
    if database.url.get_backend_name() == "sqlite":
        database.without_transaction(backends.use_wal)
    database.migrate(lambda connection: _upgrade(connection, database.name))
    return read_version(database)


def _require_not_newer(database: Database, version: str) -> None:
    if version and version not in REVISIONS:
        raise errors.Unavailable(
            f"ledger {database.name} has schema {version}, newer than"
            f" {REVISIONS[-1]}, the newest that this release supports; upgrade"
            " gpu-passthrough-plugin on this host"
        )


def _upgrade(connection: sa.Connection, name: str) -> None:
    """Upgrade the schema in a transaction.

    :param name: of the ledger, for messages.
    """
    # Only db sync needs alembic, which takes longer to import than most
    # commands take to run.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", _MIGRATIONS)
    settings.attributes["connection"] = connection
    with backends.migration_lock(connection):
        if _read_version(connection) != REVISIONS[-1]:
            _require_well_formed(connection, name)
        command.upgrade(settings, "head")


def _require_well_formed(connection: sa.Connection, name: str) -> None:
    """Raise if rows of an older schema break this release's constraints.

    :raises Refused: when some do.
    """
    faults = list(_malformed(connection))
    if not faults:
        return
    more = len(faults) - _NAMED_ROWS
    listed = "; ".join(faults[:_NAMED_ROWS])
    raise errors.Refused(
        f"ledger {name} was not upgraded, because schema {REVISIONS[-1]}"
        f" refuses {len(faults)} of its values: {listed}"
        f"{f'; and {more} more' if more > 0 else ''}; correct these rows in"
        " the database, or delete them if no guest has the unit, then run"
        " 'gpu-passthrough db sync' again"
    )


def _malformed(connection: sa.Connection) -> Iterator[str]:
    """Yield each value of a row that a constraint refuses."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in present:
            continue
        columns = {c["name"] for c in inspector.get_columns(table.name)}
        for column, condition in _conditions(table, connection.dialect.name):
            if column in columns:
                yield from _refused(connection, table, column, condition)


def _conditions(
    table: sa.Table, dialect: str
) -> Iterator[tuple[str, sa.ColumnElement[Any]]]:
    """Yield the column and the condition of each CHECK of a dialect."""
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            column = str(constraint.name).removeprefix(f"ck_{table.name}_")
            only = constraint.info.get("dialect", dialect)
            if only == dialect:
                yield column, constraint.sqltext


def _refused(
    connection: sa.Connection,
    table: sa.Table,
    column: str,
    condition: sa.ColumnElement[Any],
) -> Iterator[str]:
    unit_id = {"unit": "id", "unit_function": "unit_id"}.get(table.name)
    no_id = sa.cast(sa.null(), sa.Integer)
    named = no_id if unit_id is None else table.c[unit_id]
    host_id = table.c.get("host_id", no_id)
    refused = (
        sa.select(
            named.label("unit_id"),
            host_id.label("host_id"),
            table.c[column].label("value"),
        )
        .where(sa.text(f"NOT ({condition})"))
        .subquery()
    )
    query = sa.select(refused, host.c.name).outerjoin(
        host, host.c.id == refused.c.host_id
    )
    for row in connection.execute(query):
        place = "" if row.name is None else f"host {row.name}, "
        what = table.name if row.unit_id is None else f"unit {row.unit_id}"
        yield f"{place}{what}: {column} {row.value!r}"

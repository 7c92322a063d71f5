"""Which schema a ledger has, and how it is upgraded to this release's."""

from __future__ import annotations

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql import backends
from gpu_passthrough_plugin.allocation.sql.database import Database

REVISIONS = ("0001", "0002")
"""Every revision in ``migrations/versions``, oldest first."""

_MIGRATIONS = "gpu_passthrough_plugin.allocation.sql:migrations"
# Alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


def read(database: Database) -> str:
    """Return the schema that a database has; empty if it has none."""
    if database.file is not None:
        backends.require_file(database.file)
    return database.read(_read)


def _read(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return ""
    version = connection.execute(sa.select(_VERSION.c.version_num)).scalar()
    return version or ""


def require_current(database: Database) -> None:
    """Raise if a database does not have this release's schema.

    :raises Unavailable: when it has none, or an older or newer one.
    """
    version = read(database)
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
    """
    if database.file is not None:
        backends.create_file(database.file)
    _require_not_newer(database, read(database))
    if database.url.get_backend_name() == "sqlite":
        database.without_transaction(backends.use_wal)
    database.write(_upgrade)
    return read(database)


def _require_not_newer(database: Database, version: str) -> None:
    if version and version not in REVISIONS:
        raise errors.Unavailable(
            f"ledger {database.name} has schema {version}, newer than"
            f" {REVISIONS[-1]}, the newest that this release supports; upgrade"
            " gpu-passthrough-plugin on this host"
        )


def _upgrade(connection: sa.Connection) -> None:
    # Only db sync needs alembic, which takes longer to import than most
    # commands take to run.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", _MIGRATIONS)
    settings.attributes["connection"] = connection
    with backends.migration_lock(connection):
        command.upgrade(settings, "head")

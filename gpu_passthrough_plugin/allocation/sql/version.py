"""Which schema a ledger has, and how it gets this code's."""

from __future__ import annotations

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql import backends
from gpu_passthrough_plugin.allocation.sql.database import Database

KNOWN = ("0001", "0002")
"""Every revision in ``migrations/versions``, oldest first."""

_MIGRATIONS = "gpu_passthrough_plugin.allocation.sql:migrations"
# alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


def found(database: Database) -> str:
    """The schema that a database has; empty when it has none."""
    if database.file is not None:
        backends.check(database.file)
    return database.read(_found)


def _found(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(_VERSION.name):
        return ""
    version = connection.execute(sa.select(_VERSION.c.version_num)).scalar()
    return version or ""


def check(database: Database) -> None:
    """Return when the schema is this code's.

    :raises Unavailable: when there is none, or it is older or newer.
    """
    version = found(database)
    if version == KNOWN[-1]:
        return
    _refuse_newer(database, version)
    has = f"has schema {version}" if version else "has no schema yet"
    raise errors.Unavailable(
        f"the ledger {database.name} {has}, wanted {KNOWN[-1]}; run"
        " 'gpu-passthrough db sync'"
    )


def sync(database: Database) -> str:
    """Make the schema this code's; its version.

    In one transaction, where the database can (MariaDB and MySQL cannot:
    cut off there, the next call goes on).

    :raises Unavailable: when it is newer than this code.
    """
    if database.file is not None:
        backends.create(database.file)
    _refuse_newer(database, found(database))
    if database.url.get_backend_name() == "sqlite":
        database.outside(backends.use_wal)
    database.write(_upgrade)
    return found(database)


def _refuse_newer(database: Database, version: str) -> None:
    if version and version not in KNOWN:
        raise errors.Unavailable(
            f"the ledger {database.name} has schema {version}, newer than"
            f" {KNOWN[-1]}, the newest that this release knows; upgrade"
            " gpu-passthrough-plugin on this host"
        )


def _upgrade(connection: sa.Connection) -> None:
    # Only db sync needs alembic, which takes longer to import than most
    # commands take.
    from alembic import command, config

    settings = config.Config()
    settings.set_main_option("script_location", _MIGRATIONS)
    settings.attributes["connection"] = connection
    with backends.alone(connection):
        command.upgrade(settings, "head")

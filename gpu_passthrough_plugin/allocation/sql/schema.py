"""Which tables the ledger has, and which version of them a database has.

The tables are here as the newest migration leaves them.

A unit never has two consumers because ``allocation`` has the unit as its
primary key; a function is never in two units because ``unit_function`` has
one row for each address of a host.  If the rest of the code is wrong about
either, the database refuses.

``supply`` only says which hosts are worth looking at: it counts the free
primaries of a host (``allocation.capacity``), so that a claim does not read
the whole fleet.  Every transaction that changes a host's units updates it;
if it were wrong, a claim would look at a host in vain, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.capacity import Place
from gpu_passthrough_plugin.allocation.sql import backends
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.model.unit import DeviceType, State

MAX_NUMBER = 2**31 - 2
"""The highest number that a column can have and still be counted up."""

# How many malformed rows a refusal names.
_NAMED_ROWS = 3

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# The longest address is 8 digits of domain: 00010000:00:02.0.
_ADDRESS = sa.String(16)
_NAME = sa.String(255)


# What the column {0} is, in each dialect's words; braces are doubled.
_ADDRESS_PATTERN = "^[0-9a-f]{{4,8}}:[0-9a-f]{{2}}:[01][0-9a-f][.][0-7]$"
_UUID_PATTERN = "^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$"
_ADDRESS_FORMS = {
    "sqlite": (
        "{0} GLOB '*[0-9a-f]:[0-9a-f][0-9a-f]:[01][0-9a-f].[0-7]'"
        " AND length({0}) <= 16"
        " AND substr({0}, 1, length({0}) - 8) GLOB '[0-9a-f][0-9a-f]"
        "[0-9a-f][0-9a-f]*'"
        " AND substr({0}, 1, length({0}) - 8) NOT GLOB '*[^0-9a-f]*'"
    ),
    "mysql": f"{{0}} REGEXP '{_ADDRESS_PATTERN}'",
    "postgresql": f"{{0}} ~ '{_ADDRESS_PATTERN}'",
}
_UUID_FORMS = {
    "sqlite": "{0} GLOB '"
    + "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))
    + "'",
    "mysql": f"{{0}} REGEXP '{_UUID_PATTERN}'",
    "postgresql": f"{{0}} ~ '{_UUID_PATTERN}'",
}


def _one_of(
    column: str, values: type[State] | type[DeviceType]
) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


def _number(
    column: str, least: int = 0, most: int = MAX_NUMBER
) -> sa.CheckConstraint:
    condition = f"{column} BETWEEN {least} AND {most}"
    return sa.CheckConstraint(condition, name=column)


def _formed(column: str, forms: Mapping[str, str]) -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            form.format(column), name=column, info={"dialect": dialect}
        ).ddl_if(dialect)
        for dialect, form in forms.items()
    ]


host = sa.Table(
    "host",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", _NAME, nullable=False, unique=True),
    sa.Column("generation", sa.Integer, nullable=False),
    # Tells this machine from others that use its name.
    sa.Column(
        "machine",
        sa.String(64),
        nullable=False,
        server_default=sa.text("''"),
    ),
    # Of any unit that it ever had: a record of a unit that was removed is
    # outdated when the unit is added again.
    sa.Column(
        "highest_generation",
        sa.Integer,
        nullable=False,
        server_default=sa.text("0"),
    ),
    # A digest of what it published, if all of it is in the ledger.
    sa.Column("published", sa.String(64)),
    # Why the host is cordoned; null when it is not.
    sa.Column("disabled_reason", sa.Text),
    _number("generation"),
    _number("highest_generation"),
)

host_aggregate = sa.Table(
    "host_aggregate",
    metadata,
    sa.Column("host_id", sa.ForeignKey(host.c.id), primary_key=True),
    sa.Column("name", _NAME, primary_key=True),
)

unit = sa.Table(
    "unit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("host_id", sa.ForeignKey(host.c.id), nullable=False),
    sa.Column("address", _ADDRESS, nullable=False),
    sa.Column("iommu_group", sa.Integer, nullable=False),
    sa.Column("resource_class", _NAME, nullable=False),
    sa.Column("numa_node", sa.Integer),
    sa.Column("socket", sa.Integer),
    sa.Column("switch", _ADDRESS),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("is_missing", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    # Words separated by spaces; null for none.
    sa.Column("traits", sa.Text),
    # Of the last move: recognises a move whose answer was lost.
    sa.Column("token", sa.String(32)),
    sa.UniqueConstraint("host_id", "address"),
    _one_of("state", State),
    *_formed("address", _ADDRESS_FORMS),
    *_formed("switch", _ADDRESS_FORMS),
    _number("iommu_group"),
    _number("numa_node"),
    _number("socket", -1),
    _number("generation"),
    sa.Index(None, "state", "host_id"),
)

unit_function = sa.Table(
    "unit_function",
    metadata,
    sa.Column("host_id", sa.ForeignKey(host.c.id), primary_key=True),
    sa.Column("address", _ADDRESS, primary_key=True),
    sa.Column(
        "unit_id",
        sa.ForeignKey(unit.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.Column("vendor_id", sa.Integer, nullable=False),
    sa.Column("product_id", sa.Integer, nullable=False),
    sa.Column("class_code", sa.Integer, nullable=False),
    sa.Column("device_type", sa.String(16), nullable=False),
    sa.Column("is_primary", sa.Boolean, nullable=False),
    _one_of("device_type", DeviceType),
    *_formed("address", _ADDRESS_FORMS),
    _number("vendor_id", most=0xFFFF),
    _number("product_id", most=0xFFFF),
    _number("class_code", most=0xFFFFFF),
)

card = sa.Table(
    "card",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("vendor_id", sa.Integer, nullable=False),
    sa.Column("product_id", sa.Integer, nullable=False),
    sa.Column("device_type", sa.String(16), nullable=False),
    sa.UniqueConstraint("vendor_id", "product_id", "device_type"),
    _one_of("device_type", DeviceType),
    _number("vendor_id", most=0xFFFF),
    _number("product_id", most=0xFFFF),
)

supply = sa.Table(
    "supply",
    metadata,
    sa.Column("host_id", sa.ForeignKey(host.c.id), primary_key=True),
    sa.Column("card_id", sa.ForeignKey(card.c.id), primary_key=True),
    # A NUMA node, or below 0 a member of capacity.Place.
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("free", sa.Integer, nullable=False),
    _number("place", min(Place)),
    _number("free"),
    sa.Index(None, "card_id", "place", "free", "host_id"),
)

consumer = sa.Table(
    "consumer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("host_id", sa.ForeignKey(host.c.id), nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("numa_nodes", sa.Text),
    # Further conditions of the request; null for none.
    sa.Column("terms", sa.Text),
    *_formed("uuid", _UUID_FORMS),
)

allocation = sa.Table(
    "allocation",
    metadata,
    sa.Column(
        "unit_id",
        sa.ForeignKey(unit.c.id),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column(
        "consumer_id",
        sa.ForeignKey(consumer.c.id),
        nullable=False,
        index=True,
    ),
)


# Versions.

REVISIONS = ("0001", "0002", "0003")
"""Every revision in ``migrations/versions``, oldest first."""

_MIGRATIONS = "gpu_passthrough_plugin.allocation.sql:migrations"
# Alembic's own table.
_VERSION = sa.table("alembic_version", sa.column("version_num", sa.String))


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

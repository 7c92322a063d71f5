"""Which tables the ledger has.

The tables are here as the newest migration leaves them.

A unit never has two consumers because ``allocation`` has the unit as its
primary key; a function is never in two units because ``unit_function`` has
one row for each address of a host.  If the rest of the code is wrong about
either, the database refuses.

``supply`` only says which hosts are worth looking at: it counts the free
primaries of a host (``allocation.capacity``), so that a claim does not read
the whole fleet.  Every transaction that changes a host's units updates it;
if it were wrong, a claim would look at a host in vain, or not at all.

``event`` is the audit record: rows are added to it and, once they are too
old or too many, removed.  It refers to no other row, so that what happened
to a unit outlives the unit.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.capacity import Place
from gpu_passthrough_plugin.model.event import MAX_TIME_US, MAX_UID
from gpu_passthrough_plugin.model.host_task import TaskKind, TaskState
from gpu_passthrough_plugin.model.unit import DeviceType, State

MAX_NUMBER = 2**31 - 2
"""The highest number that a column can have and still be counted up."""

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


def _one_of(column: str, values: type[enum.StrEnum]) -> sa.CheckConstraint:
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
    # Whether an agent ran there, so that it is lost if that answers no more.
    sa.Column(
        "is_watched",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
    ),
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

event = sa.Table(
    "event",
    metadata,
    # SQLite numbers only this type of column by itself.
    sa.Column(
        "id",
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        primary_key=True,
    ),
    # Microseconds since 1970 in UTC.
    sa.Column("time_us", sa.BigInteger, nullable=False),
    sa.Column("host", _NAME, nullable=False),
    # Of the unit, whatever it is; empty for an event of the host.
    sa.Column("address", _ADDRESS, nullable=False),
    sa.Column("before_state", sa.String(16), nullable=False),
    sa.Column("after_state", sa.String(16), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("consumer", sa.String(36)),
    sa.Column("consumer_name", _NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("command", sa.String(64), nullable=False),
    sa.Column("command_host", _NAME, nullable=False),
    sa.Column("user_name", sa.String(64), nullable=False),
    sa.Column("uid", sa.BigInteger),
    _number("time_us", most=MAX_TIME_US),
    _number("generation"),
    _number("uid", most=MAX_UID),
    sa.Index(None, "host", "address"),
    sa.Index(None, "consumer"),
)

host_task = sa.Table(
    "host_task",
    metadata,
    # 32 hexadecimal digits.
    sa.Column("uuid", sa.String(32), primary_key=True),
    sa.Column("host_id", sa.ForeignKey(host.c.id), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    # A unit's address, or an instance's UUID.
    sa.Column("subject", sa.String(36), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    # Microseconds since 1970 in UTC.
    sa.Column("asked_us", sa.BigInteger, nullable=False),
    # Until when somebody waits for it.
    sa.Column("until_us", sa.BigInteger, nullable=False),
    sa.Column("changed_us", sa.BigInteger, nullable=False),
    # Who asked for it.
    sa.Column("command_host", _NAME, nullable=False),
    sa.Column("user_name", sa.String(64), nullable=False),
    sa.Column("uid", sa.BigInteger),
    _one_of("kind", TaskKind),
    _one_of("state", TaskState),
    _number("asked_us", most=MAX_TIME_US),
    _number("until_us", most=MAX_TIME_US),
    _number("changed_us", most=MAX_TIME_US),
    _number("uid", most=MAX_UID),
    sa.Index(None, "host_id", "state"),
)

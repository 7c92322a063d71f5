"""Add counts of free functions, aggregates, cordoned hosts and traits.

Programs of schema 0001 may keep writing until they end.  What they free or
claim is not counted, so that a claim looks at a host in vain, or not at
all, until that host's next ``inventory sync``, which writes everything
because the new columns are empty.  No unit is claimed twice.

MariaDB and MySQL commit each statement that alters a table, so an earlier
upgrade may have been interrupted between two of them: what exists already
is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_DEVICE_TYPES = "device_type IN ('type-PCI', 'type-PF', 'type-VF')"
_INDEX = "ix_supply_card_id_place_free_host_id"
_INDEXED = ["card_id", "place", "free", "host_id"]
_ANYWHERE, _ONE_NODE, _NO_NODE = -3, -2, -1


def upgrade() -> None:
    """Add the new tables and columns, and count the existing units."""
    if op.get_bind().dialect.name == "mysql":
        _compare_bytes()
    machine = sa.Column(
        "machine",
        sa.String(64),
        nullable=False,
        server_default=sa.text("''"),
    )
    _add("host", machine)
    highest = sa.Column(
        "highest_generation",
        sa.Integer,
        nullable=False,
        server_default=sa.text("0"),
    )
    _add("host", highest)
    _add("host", sa.Column("published", sa.String(64)))
    _add("host", sa.Column("disabled_reason", sa.Text))
    _add("unit", sa.Column("traits", sa.Text))
    _add("unit", sa.Column("token", sa.String(32)))
    _add("consumer", sa.Column("terms", sa.Text))
    _make("host_aggregate", _host_aggregate)
    _make("card", _card)
    _make("supply", _supply)
    # Separately, for an upgrade that was interrupted after the table.
    there = sa.inspect(op.get_bind()).get_indexes("supply")
    if _INDEX not in {found["name"] for found in there}:
        op.create_index(_INDEX, "supply", _INDEXED)
    _count()


def _compare_bytes() -> None:
    """Make host names differ by case, as in the other databases."""
    for table in ("host", "unit", "unit_function", "consumer", "allocation"):
        op.execute(
            f"ALTER TABLE `{table}` CONVERT TO CHARACTER SET utf8mb4"
            " COLLATE utf8mb4_bin"
        )


def _add(table: str, column: sa.Column[Any]) -> None:
    there = sa.inspect(op.get_bind()).get_columns(table)
    if column.name not in {found["name"] for found in there}:
        op.add_column(table, column)


def _make(table: str, create: Callable[[], None]) -> None:
    if not sa.inspect(op.get_bind()).has_table(table):
        create()


def _host_aggregate() -> None:
    op.create_table(
        "host_aggregate",
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "name", name="pk_host_aggregate"),
        sa.ForeignKeyConstraint(
            ["host_id"], ["host.id"], "fk_host_aggregate_host_id"
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def _card() -> None:
    op.create_table(
        "card",
        sa.Column("id", sa.Integer),
        sa.Column("vendor_id", sa.Integer, nullable=False),
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("device_type", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_card"),
        sa.UniqueConstraint(
            "vendor_id",
            "product_id",
            "device_type",
            name="uq_card_vendor_id_product_id_device_type",
        ),
        sa.CheckConstraint(_DEVICE_TYPES, name=op.f("ck_card_device_type")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


def _supply() -> None:
    op.create_table(
        "supply",
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("card_id", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("free", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint(
            "host_id", "card_id", "place", name="pk_supply"
        ),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], "fk_supply_host_id"),
        sa.ForeignKeyConstraint(["card_id"], ["card.id"], "fk_supply_card_id"),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )


_IDENTITY = ("vendor_id", "product_id", "device_type")


def _count() -> None:
    """Fill ``card`` and ``supply`` from the existing units."""
    connection = op.get_bind()
    unit, function, card, supply = (
        sa.Table(name, sa.MetaData(), autoload_with=connection)
        for name in ("unit", "unit_function", "card", "supply")
    )
    is_same = sa.and_(*(card.c[n] == function.c[n] for n in _IDENTITY))
    primaries = sa.select(*(function.c[n] for n in _IDENTITY)).where(
        function.c.is_primary
    )
    new = primaries.where(~sa.exists().where(is_same)).distinct()
    op.execute(card.insert().from_select(_IDENTITY, new))
    op.execute(supply.delete())
    is_free = sa.and_(unit.c.state == "free", sa.not_(unit.c.is_missing))
    place = sa.func.coalesce(unit.c.numa_node, _NO_NODE).label("place")
    free = sa.func.sum(sa.case((is_free, 1), else_=0)).label("free")
    counted = (
        sa.select(function.c.host_id, card.c.id.label("card_id"), place, free)
        .join_from(function, unit, unit.c.id == function.c.unit_id)
        .join(card, is_same)
        .where(function.c.is_primary)
        .group_by(function.c.host_id, card.c.id, place)
        .subquery()
    )
    columns = ("host_id", "card_id", "place", "free")
    op.execute(supply.insert().from_select(columns, sa.select(counted)))
    key = (counted.c.host_id, counted.c.card_id)
    for where, over in ((_ANYWHERE, sa.func.sum), (_ONE_NODE, sa.func.max)):
        of_all = sa.select(
            *key, sa.literal(where), over(counted.c.free)
        ).group_by(*key)
        op.execute(supply.insert().from_select(columns, of_all))

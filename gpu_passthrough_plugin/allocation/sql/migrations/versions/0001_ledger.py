"""Create the ledger: hosts, units, functions, consumers, allocations.

MariaDB and MySQL commit each statement that creates a table, so an earlier
call may have been interrupted between two of them: what exists already is
kept.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_STATES = (
    "state IN ('free', 'claimed', 'preparing', 'active', 'releasing',"
    " 'sanitising', 'quarantined')"
)
_DEVICE_TYPES = "device_type IN ('type-PCI', 'type-PF', 'type-VF')"


def upgrade() -> None:
    """Create the five tables."""
    _make("host", _host)
    _make("unit", _unit)
    _index("ix_unit_state_host_id", "unit", ["state", "host_id"])
    _make("unit_function", _unit_function)
    _index("ix_unit_function_unit_id", "unit_function", ["unit_id"])
    _make("consumer", _consumer)
    _make("allocation", _allocation)
    _index("ix_allocation_consumer_id", "allocation", ["consumer_id"])


def _make(table: str, create: Callable[[], None]) -> None:
    if not sa.inspect(op.get_bind()).has_table(table):
        create()


def _index(name: str, table: str, columns: list[str]) -> None:
    there = sa.inspect(op.get_bind()).get_indexes(table)
    if name not in {found["name"] for found in there}:
        op.create_index(name, table, columns)


def _host() -> None:
    op.create_table(
        "host",
        sa.Column("id", sa.Integer),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_host"),
        sa.UniqueConstraint("name", name="uq_host_name"),
    )


def _unit() -> None:
    op.create_table(
        "unit",
        sa.Column("id", sa.Integer),
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(16), nullable=False),
        sa.Column("iommu_group", sa.Integer, nullable=False),
        sa.Column("resource_class", sa.String(255), nullable=False),
        sa.Column("numa_node", sa.Integer),
        sa.Column("socket", sa.Integer),
        sa.Column("switch", sa.String(16)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("is_missing", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_unit"),
        sa.UniqueConstraint(
            "host_id", "address", name="uq_unit_host_id_address"
        ),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], "fk_unit_host_id"),
        sa.CheckConstraint(_STATES, name=op.f("ck_unit_state")),
    )


def _unit_function() -> None:
    op.create_table(
        "unit_function",
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(16), nullable=False),
        sa.Column("unit_id", sa.Integer, nullable=False),
        sa.Column("vendor_id", sa.Integer, nullable=False),
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("class_code", sa.Integer, nullable=False),
        sa.Column("device_type", sa.String(16), nullable=False),
        sa.Column("is_primary", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("host_id", "address", name="pk_unit_function"),
        sa.ForeignKeyConstraint(
            ["host_id"], ["host.id"], "fk_unit_function_host_id"
        ),
        sa.ForeignKeyConstraint(
            ["unit_id"],
            ["unit.id"],
            "fk_unit_function_unit_id",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            _DEVICE_TYPES, name=op.f("ck_unit_function_device_type")
        ),
    )


def _consumer() -> None:
    op.create_table(
        "consumer",
        sa.Column("id", sa.Integer),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("numa_nodes", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_consumer"),
        sa.UniqueConstraint("uuid", name="uq_consumer_uuid"),
        sa.ForeignKeyConstraint(
            ["host_id"], ["host.id"], "fk_consumer_host_id"
        ),
    )


def _allocation() -> None:
    op.create_table(
        "allocation",
        sa.Column("unit_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("consumer_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("unit_id", name="pk_allocation"),
        sa.ForeignKeyConstraint(
            ["unit_id"], ["unit.id"], "fk_allocation_unit_id"
        ),
        sa.ForeignKeyConstraint(
            ["consumer_id"], ["consumer.id"], "fk_allocation_consumer_id"
        ),
    )

"""Add the audit record: an event for each transition of a unit.

Programs of schema 0003 may keep writing until they end; what they change
leaves no event.

MariaDB and MySQL commit each statement, so an earlier upgrade may have been
interrupted between two of them: what exists already is kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NUMBERS = {
    "time_us": 253_402_300_799_999_999,
    "generation": 2**31 - 2,
    "uid": 2**32 - 1,
}
_INDEXES = (["host", "address"], ["consumer"])


def upgrade() -> None:
    """Add the table and its indexes."""
    if not sa.inspect(op.get_bind()).has_table("event"):
        _create()
    present = sa.inspect(op.get_bind()).get_indexes("event")
    for columns in _INDEXES:
        name = f"ix_event_{'_'.join(columns)}"
        if name not in {index["name"] for index in present}:
            op.create_index(name, "event", columns)


def _create() -> None:
    op.create_table(
        "event",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            autoincrement=True,
        ),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("address", sa.String(16), nullable=False),
        sa.Column("before_state", sa.String(16), nullable=False),
        sa.Column("after_state", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("consumer", sa.String(36)),
        sa.Column("consumer_name", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("command", sa.String(64), nullable=False),
        sa.Column("command_host", sa.String(255), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("uid", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        *(
            sa.CheckConstraint(
                f"{column} BETWEEN 0 AND {most}",
                name=op.f(f"ck_event_{column}"),
            )
            for column, most in _NUMBERS.items()
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )

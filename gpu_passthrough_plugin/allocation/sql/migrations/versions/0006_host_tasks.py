"""Add what commands ask the agents of other hosts for.

Programs of schema 0005 may keep writing until they end: they ask for nothing.

MariaDB and MySQL commit each statement, so an earlier upgrade may have been
interrupted between two of them: what exists already is kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_KINDS = ("unit clear", "instance release")
_STATES = ("waiting", "running", "done", "failed", "withdrawn")
_NUMBERS = {
    "asked_us": 253_402_300_799_999_999,
    "until_us": 253_402_300_799_999_999,
    "changed_us": 253_402_300_799_999_999,
    "uid": 2**32 - 1,
}
_INDEX = "ix_host_task_host_id_state"


def upgrade() -> None:
    """Add the table and its index."""
    if not sa.inspect(op.get_bind()).has_table("host_task"):
        _create()
    present = sa.inspect(op.get_bind()).get_indexes("host_task")
    if _INDEX not in {index["name"] for index in present}:
        op.create_index(_INDEX, "host_task", ["host_id", "state"])


def _create() -> None:
    op.create_table(
        "host_task",
        sa.Column("uuid", sa.String(32), nullable=False),
        sa.Column("host_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("command_host", sa.String(255), nullable=False),
        sa.Column("user_name", sa.String(64), nullable=False),
        sa.Column("uid", sa.BigInteger),
        sa.PrimaryKeyConstraint("uuid", name="pk_host_task"),
        sa.ForeignKeyConstraint(
            ["host_id"], ["host.id"], name="fk_host_task_host_id"
        ),
        *(
            sa.CheckConstraint(
                f"{column} IN ({', '.join(map(repr, values))})",
                name=op.f(f"ck_host_task_{column}"),
            )
            for column, values in (("kind", _KINDS), ("state", _STATES))
        ),
        *(
            sa.CheckConstraint(
                f"{column} BETWEEN 0 AND {most}",
                name=op.f(f"ck_host_task_{column}"),
            )
            for column, most in _NUMBERS.items()
        ),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
    )

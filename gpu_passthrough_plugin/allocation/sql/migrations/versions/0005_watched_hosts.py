"""Add whether an agent ran on a host.

Programs of schema 0004 may keep writing until they end: the hosts that they
add are not watched.

MariaDB and MySQL commit each statement, so an earlier upgrade may have been
interrupted after this one: a column that exists already is kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    columns = sa.inspect(op.get_bind()).get_columns("host")
    if "is_watched" not in {column["name"] for column in columns}:
        op.add_column(
            "host",
            sa.Column(
                "is_watched",
                sa.Boolean,
                nullable=False,
                server_default=sa.false(),
            ),
        )

"""Let the database refuse addresses, numbers and UUIDs that are malformed.

Rows that are malformed already are refused before: see ``version.sync``.

SQLite cannot add a constraint to a table: each table is made again with it,
and its rows are copied.  Foreign keys have to be off meanwhile, because
dropping a table would delete what refers to it.
Source: https://www.sqlite.org/lang_altertable.html (section 7).

MariaDB and MySQL commit each statement that alters a table, so an earlier
upgrade may have been interrupted between two of them: what exists already
is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_FORMS = {
    "sqlite": (
        "{0} GLOB '*[0-9a-f]:[0-9a-f][0-9a-f]:[01][0-9a-f].[0-7]'"
        " AND length({0}) <= 16"
        " AND substr({0}, 1, length({0}) - 8) GLOB '[0-9a-f][0-9a-f]"
        "[0-9a-f][0-9a-f]*'"
        " AND substr({0}, 1, length({0}) - 8) NOT GLOB '*[^0-9a-f]*'",
        "{0} GLOB '"
        + "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))
        + "'",
    ),
    "mysql": (
        "{0} REGEXP '^[0-9a-f]{{4,8}}:[0-9a-f]{{2}}:[01][0-9a-f][.][0-7]$'",
        "{0} REGEXP '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'",
    ),
    "postgresql": (
        "{0} ~ '^[0-9a-f]{{4,8}}:[0-9a-f]{{2}}:[01][0-9a-f][.][0-7]$'",
        "{0} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$'",
    ),
}
_MOST = 2**31 - 2
_ADDRESSES = {"unit": ("address", "switch"), "unit_function": ("address",)}
_NUMBERS = {
    "host": {"generation": (0, _MOST), "highest_generation": (0, _MOST)},
    "unit": {
        "iommu_group": (0, _MOST),
        "numa_node": (0, _MOST),
        "socket": (-1, _MOST),
        "generation": (0, _MOST),
    },
    "unit_function": {
        "vendor_id": (0, 0xFFFF),
        "product_id": (0, 0xFFFF),
        "class_code": (0, 0xFFFFFF),
    },
    "card": {"vendor_id": (0, 0xFFFF), "product_id": (0, 0xFFFF)},
    "supply": {"place": (-3, _MOST), "free": (0, _MOST)},
}
_TABLES = ("host", "unit", "unit_function", "card", "supply", "consumer")


def upgrade() -> None:
    """Add the constraints to six tables."""
    dialect = op.get_bind().dialect.name
    for table in _TABLES:
        checks = dict(_checks(table, dialect))
        if dialect == "sqlite":
            _make_again(table, checks.items())
            continue
        inspector = sa.inspect(op.get_bind())
        present = {c["name"] for c in inspector.get_check_constraints(table)}
        for name, condition in checks.items():
            if name not in present:
                op.create_check_constraint(op.f(name), table, condition)


def _checks(table: str, dialect: str) -> Iterator[tuple[str, str]]:
    address, uuid = _FORMS[dialect]
    for column in _ADDRESSES.get(table, ()):
        yield f"ck_{table}_{column}", address.format(column)
    for column, (least, most) in _NUMBERS.get(table, {}).items():
        condition = f"{column} BETWEEN {least} AND {most}"
        yield f"ck_{table}_{column}", condition
    if table == "consumer":
        yield "ck_consumer_uuid", uuid.format("uuid")


def _make_again(table: str, checks: Iterable[tuple[str, str]]) -> None:
    """Make a table of SQLite again, with more constraints."""
    connection = op.get_bind()
    stored = connection.execute(
        sa.text(
            "SELECT type, sql FROM sqlite_master"
            " WHERE tbl_name = :table AND sql IS NOT NULL"
        ),
        {"table": table},
    ).all()
    (old,) = (row.sql for row in stored if row.type == "table")
    columns = old.partition("(")[2].rpartition(")")[0]
    new = f"{table}_0003"
    added = "".join(
        f",\n\tCONSTRAINT {name} CHECK ({condition})"
        for name, condition in checks
    )
    connection.exec_driver_sql(
        f'CREATE TABLE "{new}" ({columns.rstrip()}{added}\n)'
    )
    connection.exec_driver_sql(
        f'INSERT INTO "{new}" SELECT * FROM "{table}"'  # noqa: S608 - constants
    )
    connection.exec_driver_sql(f'DROP TABLE "{table}"')
    connection.exec_driver_sql(f'ALTER TABLE "{new}" RENAME TO "{table}"')
    for row in stored:
        if row.type == "index":
            connection.exec_driver_sql(row.sql)

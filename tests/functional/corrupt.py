"""Rows that no program of this project writes."""

from __future__ import annotations

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation.sql.database import Database

_CHECKS_OFF = {
    "sqlite": "PRAGMA ignore_check_constraints = ON",
    "mysql": "SET SESSION check_constraint_checks = 0",
}
_CHECKS_ON = {
    "sqlite": "PRAGMA ignore_check_constraints = OFF",
    "mysql": "SET SESSION check_constraint_checks = 1",
}


def corrupt(database: Database, statement: str, **bound: object) -> None:
    """Run a statement as a client without constraints would."""
    engine = database.engine
    dialect = engine.dialect.name
    with engine.connect() as connection:
        if dialect == "postgresql":
            _drop_checks(connection)
        else:
            connection.exec_driver_sql(_CHECKS_OFF[dialect])
        connection.execute(sa.text(statement), bound)
        if dialect != "postgresql":
            connection.exec_driver_sql(_CHECKS_ON[dialect])
        connection.commit()


def _drop_checks(connection: sa.Connection) -> None:
    """Drop every CHECK, as nobody can go round one in PostgreSQL."""
    inspector = sa.inspect(connection)
    for table in inspector.get_table_names():
        for check in inspector.get_check_constraints(table):
            connection.exec_driver_sql(
                f'ALTER TABLE "{table}" DROP CONSTRAINT "{check["name"]}"'
            )

"""Carrying out what ``allocation.inventory`` decided, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory
from gpu_passthrough_plugin.allocation.inventory import Change, Plan
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import SyncReport
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


def publish(
    connection: sa.Connection, host: str, units: Sequence[Unit]
) -> SyncReport:
    """Make ``units`` the inventory of a host; what that changed.

    :raises RetryRequest: when another changed the same rows meanwhile.
    """
    host_id, generation = _host(connection, host)
    stored = rows.stored(connection, host)
    plan = inventory.plan([s.record for s in stored], units)
    if not plan.is_empty:
        _carry_out(connection, host_id, plan, stored)
        bound = {"host_id": host_id, "old": generation}
        _one(connection.execute(statements.NEXT, bound), host)
        generation += 1
    return SyncReport(
        added=plan.added,
        changed=tuple(change.after.unit for change in plan.changed),
        removed=tuple(record.unit for record in plan.removed),
        missing=plan.missing,
        generation=generation,
        withheld=plan.withheld,
    )


def _host(connection: sa.Connection, name: str) -> tuple[int, int]:
    """The host's id and generation; a new host begins at 0."""
    row = connection.execute(statements.HOST, {"host": name}).first()
    if row is not None:
        return row.id, row.generation
    added = connection.execute(
        statements.ADD_HOST, {"name": name, "generation": 0}
    )
    return rows.key(added), 0


def _carry_out(
    connection: sa.Connection,
    host_id: int,
    plan: Plan,
    stored: Sequence[Stored],
) -> None:
    """What goes first, what comes last: no function is in two units."""
    ids = {s.record.unit.key: s.id for s in stored}
    for record in plan.removed:
        _remove(connection, ids[record.unit.key], record)
    altered = [c for c in plan.changed if _is_altered(c)]
    for change in altered:
        bound = {"unit_id": ids[change.before.unit.key]}
        connection.execute(statements.REMOVE_FUNCTIONS, bound)
    for change in plan.changed:
        _change(connection, ids[change.before.unit.key], change)
    functions = [
        row
        for change in altered
        for row in rows.function_values(
            host_id, ids[change.before.unit.key], change.after.unit
        )
    ]
    for unit in plan.added:
        unit_id = _add(connection, host_id, unit)
        functions += rows.function_values(host_id, unit_id, unit)
    if functions:
        connection.execute(statements.ADD_FUNCTIONS, functions)


def _is_altered(change: Change) -> bool:
    return change.before.unit.functions != change.after.unit.functions


def _remove(
    connection: sa.Connection, unit_id: int, record: UnitRecord
) -> None:
    # Not left to ON DELETE, so that a foreign key that does not cascade
    # anywhere is a fault that shows.
    bound = {"unit_id": unit_id}
    connection.execute(statements.REMOVE_FUNCTIONS, bound)
    bound["old"] = record.generation
    result = connection.execute(statements.REMOVE_UNIT, bound)
    _one(result, record.unit.key.host)


def _change(connection: sa.Connection, unit_id: int, change: Change) -> None:
    bound = rows.unit_values(change.after) | {
        "unit_id": unit_id,
        "old": change.before.generation,
    }
    result = connection.execute(statements.CHANGE_UNIT, bound)
    _one(result, change.before.unit.key.host)


def _add(connection: sa.Connection, host_id: int, unit: Unit) -> int:
    record = UnitRecord(unit, State.FREE, None, 1, False, "")
    values = rows.unit_values(record) | {
        "host_id": host_id,
        "address": str(unit.key.address),
    }
    return rows.key(connection.execute(statements.ADD_UNIT, values))


def _one(result: sa.CursorResult[Any], host: str) -> None:
    if result.rowcount != 1:
        raise exception.RetryRequest(
            errors.Conflict(
                f"the inventory of host {host} was changed by others at"
                " each attempt; try again"
            )
        )

"""Claiming very units, for a guest that others chose them for."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, rules
from gpu_passthrough_plugin.allocation.sql import (
    cards,
    claim,
    counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import UnitKey


def take(
    connection: sa.Connection,
    keys: Collection[UnitKey],
    consumer: str,
    request: str,
) -> Allocation:
    """What ``consumer`` holds once this is committed.

    :param keys: of units of one host.
    :raises Refused: when the host is disabled, a unit is gone, or the
        consumer holds others.
    :raises Conflict: when another one holds a unit.
    """
    held = claim.allocation(connection, consumer)
    if held is not None:
        rules.require_same(held, keys)
        return held
    host = connection.execute(
        statements.LOCK_NAMED, {"host": next(iter(keys)).host}
    ).first()
    if host is None:
        raise refusals.unit_unknown(min(keys))
    rules.require_enabled(host.name, host.disabled_reason)
    bound = {"host_id": host.id}
    units = rows.stored(connection.execute(statements.FREE_AND_TAKEN, bound))
    taken = [s for s in units if s.record.unit.key in keys]
    for key in sorted(set(keys) - {s.record.unit.key for s in taken}):
        raise refusals.unit_unknown(key)
    for unit in taken:
        if not counters.is_offered(unit.record):
            raise refusals.unit_not_free(unit.record)
    _write(connection, host.id, taken, consumer, request)
    _count(connection, host.id, units, keys)
    found = claim.allocation(connection, consumer)
    if found is None:
        raise refusals.unit_unknown(min(keys))
    return found


def _write(
    connection: sa.Connection,
    host_id: int,
    taken: Collection[Stored],
    consumer: str,
    request: str,
) -> None:
    values = {
        "uuid": consumer,
        "host_id": host_id,
        "request": request,
        "numa_nodes": None,
        "terms": None,
    }
    try:
        added = connection.execute(statements.ADD_CONSUMER, values)
    except exception.DBDuplicateEntry as error:
        raise errors.Conflict(
            f"consumer {consumer} was claimed for just now; try again"
        ) from error
    for unit in taken:
        bound = {"unit_id": unit.id, "old": unit.record.generation}
        if connection.execute(statements.CLAIM_ONE, bound).rowcount != 1:
            raise refusals.unit_not_free(unit.record)
    consumer_id = rows.key(added)
    connection.execute(
        statements.ADD_ALLOCATIONS,
        [{"unit_id": s.id, "consumer_id": consumer_id} for s in taken],
    )


def _count(
    connection: sa.Connection,
    host_id: int,
    units: Collection[Stored],
    keys: Collection[UnitKey],
) -> None:
    free = [
        s.record.unit
        for s in units
        if counters.is_offered(s.record) and s.record.unit.key not in keys
    ]
    kept = {unit.key for unit in free}
    counters.change(
        connection,
        host_id,
        cards.read(connection),
        free,
        [s.record.unit for s in units if s.record.unit.key not in kept],
        [s.record.unit for s in units if s.record.unit.key in keys],
    )

"""Claiming very units, for a guest that others chose them for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


class Known(Exception):
    """The ledger has the consumer already."""


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
    held = allocation(connection, consumer)
    if held is not None:
        validation.require_same(held, keys)
        return held
    host = connection.execute(
        statements.LOCK_NAMED, {"host": next(iter(keys)).host}
    ).first()
    if host is None:
        raise refusals.unit_unknown(min(keys))
    validation.require_enabled(host.name, host.disabled_reason)
    bound = {"host_id": host.id}
    units = rows.stored(connection.execute(statements.FREE_AND_TAKEN, bound))
    taken = [s for s in units if s.record.unit.key in keys]
    for key in sorted(set(keys) - {s.record.unit.key for s in taken}):
        raise refusals.unit_unknown(key)
    for unit in taken:
        if not capacity_counters.is_offered(unit.record):
            raise refusals.unit_not_free(unit.record)
    _write(connection, host.id, taken, consumer, request)
    _count(connection, host.id, units, keys)
    found = allocation(connection, consumer)
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
        if capacity_counters.is_offered(s.record)
        and s.record.unit.key not in keys
    ]
    kept = {unit.key for unit in free}
    capacity_counters.change(
        connection,
        host_id,
        capacity_counters.read(connection),
        free,
        [s.record.unit for s in units if s.record.unit.key not in kept],
        [s.record.unit for s in units if s.record.unit.key in keys],
    )


def add_consumer(
    connection: sa.Connection, request: Request, consumer: str, host_id: int
) -> int:
    try:
        return rows.key(
            connection.execute(
                statements.ADD_CONSUMER,
                {
                    "uuid": consumer,
                    "host_id": host_id,
                    "request": str(request),
                    "numa_nodes": _nodes(request),
                    "terms": _terms(request),
                },
            )
        )
    except exception.DBDuplicateEntry as error:
        raise Known from error


def mark(
    connection: sa.Connection, request: Request, taken: list[Stored]
) -> None:
    """Take the units, each at the generation that it was read with."""
    if len(taken) == 1:
        (one,) = taken
        result = connection.execute(
            statements.CLAIM_ONE,
            {"unit_id": one.id, "old": one.record.generation},
        )
    else:
        free = [(s.id, s.record.generation) for s in taken]
        result = connection.execute(
            statements.CLAIM, {"units": [i for i, _ in free], "free": free}
        )
    if result.rowcount != len(taken):
        raise exception.RetryRequest(refusals.claim_lost(str(request)))


def claimed(record: UnitRecord, consumer: str) -> UnitRecord:
    return dataclasses.replace(
        record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=record.generation + 1,
    )


def held(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    host: str | None,
) -> Allocation | None:
    """What the consumer holds already; None if nothing.

    :raises Refused: when that is not what it asks for now.
    """
    row = connection.execute(
        statements.CONSUMER,
        {"uuid": consumer, "aggregate": request.aggregate},
    ).first()
    if row is None:
        return None
    is_same = (
        sorted(row.request.split(",")) == sorted(str(request).split(","))
        and row.numa_nodes == _nodes(request)
        and row.terms == _terms(request)
        and (request.aggregate is None or row.is_in_aggregate)
        and host in (None, row.host)
    )
    if not is_same:
        raise refusals.consumer_holds_other(consumer, row.request, row.host)
    return allocation(connection, consumer)


def allocation(connection: sa.Connection, consumer: str) -> Allocation | None:
    """What a consumer holds; None if nothing."""
    found = rows.stored(
        connection.execute(statements.UNITS_OF, {"uuid": consumer})
    )
    return allocations(found)[0] if found else None


def allocations(found: tuple[Stored, ...]) -> tuple[Allocation, ...]:
    """What the consumers of these units hold, by consumer."""
    of: dict[str, list[Stored]] = {}
    for one in found:
        of.setdefault(str(one.record.consumer), []).append(one)
    return tuple(
        Allocation(
            consumer,
            units[0].record.unit.key.host,
            str(units[0].request),
            tuple(s.record for s in units),
        )
        for consumer, units in sorted(of.items())
    )


def _nodes(request: Request) -> str | None:
    """The instance's NUMA nodes as the ledger keeps them."""
    nodes = request.numa_nodes
    return None if nodes is None else ",".join(map(str, sorted(nodes)))


def _terms(request: Request) -> str | None:
    """What else a request asks for, as the ledger keeps it."""
    words = sorted(f"!{trait}" for trait in request.forbidden_traits)
    if request.same_switch:
        words.append("same-switch")
    return " ".join(words) or None

"""Claiming, in one transaction: read, choose, take."""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import choice
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    FreeUnit,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, UnitRecord


def candidates(
    stored: tuple[Stored, ...], request: Request, limit: int
) -> tuple[Candidate, ...]:
    """Where among these units the request fits, best first."""
    records = [s.record for s in stored]
    free = [FreeUnit(r.unit, r.generation) for r in records if _is_offered(r)]
    taken = [r.unit for r in records if not _is_offered(r)]
    return choice.candidates(request, free, taken, limit=limit)


def _is_offered(record: UnitRecord) -> bool:
    return record.state is State.FREE and not record.is_missing


def claim(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    host: str | None,
) -> Allocation:
    """What ``consumer`` holds once this transaction is committed.

    :raises NoValidHost: when nothing fits.
    :raises Refused: when the consumer holds something else.
    :raises RetryRequest: when another took one of the units meanwhile.
    """
    held = _held(connection, request, consumer, host)
    if held is not None:
        return held
    stored = rows.stored(connection, host)
    found = candidates(stored, request, limit=1)
    if not found:
        where = "no host" if host is None else f"host {host} does not have"
        has = " has" if host is None else ""
        raise errors.NoValidHost(
            f"{where}{has} the free units that {request} asks for; see"
            " 'gpu-passthrough inventory list'"
        )
    best = found[0]
    wanted = {free.unit.key for free in best.units}
    taken = [s for s in stored if s.record.unit.key in wanted]
    _take(connection, request, consumer, taken)
    return Allocation(
        consumer=consumer,
        host=best.host,
        request=str(request),
        units=tuple(_claimed(s.record, consumer) for s in taken),
    )


def _take(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    taken: list[Stored],
) -> None:
    added = connection.execute(
        statements.ADD_CONSUMER,
        {
            "uuid": consumer,
            "host": taken[0].record.unit.key.host,
            "request": str(request),
            "numa_nodes": _nodes(request),
        },
    )
    free = [(s.id, s.record.generation) for s in taken]
    result = connection.execute(statements.CLAIM, {"free": free})
    if result.rowcount != len(taken):
        raise exception.RetryRequest(
            errors.Conflict(
                "others were faster at each attempt to claim what"
                f" {request} asks for; try again"
            )
        )
    consumer_id = rows.key(added)
    connection.execute(
        statements.ADD_ALLOCATIONS,
        [{"unit_id": s.id, "consumer_id": consumer_id} for s in taken],
    )


def _claimed(record: UnitRecord, consumer: str) -> UnitRecord:
    return dataclasses.replace(
        record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=record.generation + 1,
    )


def _held(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    host: str | None,
) -> Allocation | None:
    """What the consumer holds already, if it is what it asks for."""
    row = connection.execute(statements.CONSUMER, {"uuid": consumer}).first()
    if row is None:
        return None
    is_same = (
        sorted(row.request.split(",")) == sorted(str(request).split(","))
        and row.numa_nodes == _nodes(request)
        and host in (None, row.host)
    )
    if not is_same:
        raise errors.Refused(
            f"consumer {consumer} holds {row.request} on host {row.host};"
            " release that before it claims anything else"
        )
    return allocation(connection, row.uuid, row.host, row.request)


def allocation(
    connection: sa.Connection, consumer: str, host: str, request: str
) -> Allocation:
    """What a consumer that the ledger knows holds."""
    units = tuple(
        s.record
        for s in rows.stored(connection, host)
        if s.record.consumer == consumer
    )
    return Allocation(consumer, host, request, units)


def _nodes(request: Request) -> str | None:
    """The instance's NUMA nodes as the ledger keeps them."""
    nodes = request.numa_nodes
    return None if nodes is None else ",".join(map(str, sorted(nodes)))

"""How given units become a consumer's, and what a consumer already holds.

``write_claim`` is the last step of a claim by request; ``claim_units``
claims units that the caller chose (the libvirt hook).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import events, refusals, validation
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.capacity_counters import ModelIds
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.allocation.sql.rows import StoredUnit
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


class ConsumerExists(Exception):
    """The ledger already has the consumer."""


class HostUnits(NamedTuple):
    """A host's row id and all its units, by address."""

    id: int
    units: tuple[StoredUnit, ...]

    @property
    def records(self) -> list[UnitRecord]:
        return [stored.record for stored in self.units]


def write_claim(
    connection: sa.Connection,
    host: HostUnits,
    keys: Collection[UnitKey],
    request: Request,
    consumer: str,
    model_ids: ModelIds,
) -> Allocation:
    """Write free units of a locked host to a new consumer.

    :raises ConsumerExists: when the ledger already has the consumer.
    :raises RetryRequest: when another client took one of the units.
    """
    chosen = _chosen(host.units, keys)
    values = {
        "uuid": consumer,
        "host_id": host.id,
        "request": str(request),
        "numa_nodes": _numa_nodes(request),
        "terms": _terms(request),
    }
    consumer_id = _add_consumer(connection, values)
    _mark_claimed(connection, request, chosen)
    return _allocate(
        connection,
        host,
        chosen,
        consumer,
        consumer_id,
        str(request),
        model_ids,
    )


def claim_units(
    connection: sa.Connection,
    keys: Collection[UnitKey],
    consumer: str,
    request: str,
    event_writer: EventWriter,
) -> Allocation:
    """Claim the given units, all of one host, for a consumer.

    :param request: what to show as the consumer's request.
    :raises Refused: when the host is cordoned, a unit does not exist, or
        the consumer holds other units.
    :raises Conflict: when another consumer holds one of the units.
    """
    existing = allocation(connection, consumer)
    if existing is not None:
        validation.require_same_units(existing, keys)
        return existing
    host = _lock_host(connection, keys)
    chosen = _chosen(host.units, keys)
    records = [stored.record for stored in chosen]
    if not all(record.is_claimable for record in records):
        # Only the message needs the consumers: a claim does not read them.
        bound = {"host": next(iter(keys)).host}
        units = connection.execute(statements.HOST_UNITS, bound)
        held = _chosen(rows.read_units(units), keys)
        records = [stored.record for stored in held]
    validation.require_claimable(keys, records)
    values = {
        "uuid": consumer,
        "host_id": host.id,
        "request": request,
        "numa_nodes": None,
        "terms": None,
    }
    try:
        consumer_id = _add_consumer(connection, values)
    except ConsumerExists as error:
        raise errors.Conflict(
            f"consumer {consumer} was claimed for by another client just now;"
            " try again"
        ) from error
    for stored in chosen:
        _mark_one(connection, stored)
    model_ids = capacity_counters.read_model_ids(connection)
    new = _allocate(
        connection, host, chosen, consumer, consumer_id, request, model_ids
    )
    event_writer.write(connection, events.claimed(new))
    return new


def _lock_host(
    connection: sa.Connection, keys: Collection[UnitKey]
) -> HostUnits:
    """Lock the host of the given units, and return all its units.

    :raises Refused: when the ledger has no such host, or it is cordoned.
    """
    row = connection.execute(
        statements.LOCK_HOST, {"host": next(iter(keys)).host}
    ).first()
    if row is None:
        raise refusals.unit_unknown(min(keys))
    if row.disabled_reason is not None:
        raise refusals.host_cordoned(row.name, row.disabled_reason)
    bound = {"host_id": row.id}
    units = connection.execute(statements.UNITS_BY_HOST_ID, bound)
    return HostUnits(row.id, rows.read_units(units))


def _chosen(
    units: Sequence[StoredUnit], keys: Collection[UnitKey]
) -> list[StoredUnit]:
    return [stored for stored in units if stored.record.unit.key in keys]


def _add_consumer(connection: sa.Connection, values: dict[str, object]) -> int:
    """Add a consumer; return the id of its row.

    :raises ConsumerExists: when the ledger already has it.
    """
    try:
        added = connection.execute(statements.ADD_CONSUMER, values)
    except exception.DBDuplicateEntry as error:
        raise ConsumerExists from error
    return rows.inserted_id(added)


def _mark_claimed(
    connection: sa.Connection, request: Request, chosen: Sequence[StoredUnit]
) -> None:
    """Mark the units claimed, each at the generation at which it was read.

    :raises RetryRequest: when one has another generation.
    """
    if len(chosen) == 1:
        (stored,) = chosen
        bound = {"unit_id": stored.id, "old": stored.record.generation}
        result = connection.execute(statements.CLAIM_UNIT, bound)
    else:
        free = [(s.id, s.record.generation) for s in chosen]
        result = connection.execute(
            statements.CLAIM_UNITS,
            {"units": [i for i, _ in free], "free": free},
        )
    if result.rowcount != len(chosen):
        raise exception.RetryRequest(refusals.claim_lost(str(request)))


def _mark_one(connection: sa.Connection, stored: StoredUnit) -> None:
    bound = {"unit_id": stored.id, "old": stored.record.generation}
    if connection.execute(statements.CLAIM_UNIT, bound).rowcount != 1:
        raise refusals.unit_not_free(stored.record)


def _allocate(
    connection: sa.Connection,
    host: HostUnits,
    chosen: Sequence[StoredUnit],
    consumer: str,
    consumer_id: int,
    request: str,
    model_ids: ModelIds,
) -> Allocation:
    """Add the allocations of units just marked, and count what is free."""
    connection.execute(
        statements.ADD_ALLOCATIONS,
        [{"unit_id": s.id, "consumer_id": consumer_id} for s in chosen],
    )
    claimed = {
        s.id: dataclasses.replace(
            s.record,
            state=State.CLAIMED,
            consumer=consumer,
            generation=s.record.generation + 1,
        )
        for s in chosen
    }
    capacity_counters.update(
        connection,
        host.id,
        model_ids,
        before=host.records,
        after=[claimed.get(s.id, s.record) for s in host.units],
    )
    return Allocation(
        consumer=consumer,
        host=chosen[0].record.unit.key.host,
        request=request,
        units=tuple(claimed.values()),
    )


def existing_allocation(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    host: str | None,
) -> Allocation | None:
    """Return what the consumer holds by the same request; None if nothing.

    :param host: the only host that the request may use; None for any.
    :raises Refused: when it holds something else, or a part of it.
    """
    row = connection.execute(
        statements.CONSUMER,
        {"uuid": consumer, "aggregate": request.aggregate},
    ).first()
    if row is None:
        return None
    is_same = (
        sorted(str(row.request).split(",")) == sorted(str(request).split(","))
        and row.numa_nodes == _numa_nodes(request)
        and row.terms == _terms(request)
        and (request.aggregate is None or row.is_in_aggregate)
        and host in (None, row.host)
    )
    if not is_same:
        raise refusals.consumer_holds_other(
            consumer, str(row.request), row.host
        )
    held = allocation(connection, consumer)
    if held is not None:
        validation.require_whole(held, request)
    return held


def allocation(connection: sa.Connection, consumer: str) -> Allocation | None:
    """Return what a consumer holds; None if nothing."""
    units = rows.read_units(
        connection.execute(statements.CONSUMER_UNITS, {"uuid": consumer})
    )
    return rows.allocations(units)[0] if units else None


def _numa_nodes(request: Request) -> str | None:
    """Return the instance's NUMA nodes as the ledger stores them."""
    nodes = request.numa_nodes
    return None if nodes is None else ",".join(map(str, sorted(nodes)))


def _terms(request: Request) -> str | None:
    """Return a request's further conditions as the ledger stores them."""
    words = sorted(f"!{trait}" for trait in request.forbidden_traits)
    if request.same_switch:
        words.append("same-switch")
    return " ".join(words) or None

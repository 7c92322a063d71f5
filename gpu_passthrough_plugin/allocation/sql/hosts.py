"""Hosts, and whether anything of them is offered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.sql import (
    counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.model.allocation import HostRecord


def records(
    connection: sa.Connection, name: str | None = None
) -> tuple[HostRecord, ...]:
    """Return every host, or the named one if there is one; by name."""
    if name is None:
        return _records(connection.execute(statements.HOSTS))
    return _records(connection.execute(statements.ONE_HOST, {"host": name}))


def unit_count(connection: sa.Connection) -> int:
    """Return how many units the ledger has."""
    return int(connection.execute(statements.UNIT_COUNT).scalar_one())


def _records(found: Iterable[sa.Row[Any]]) -> tuple[HostRecord, ...]:
    aggregates: dict[str, set[str]] = {}
    hosts: dict[str, sa.Row[Any]] = {}
    for row in found:
        hosts[row.name] = row
        of_host = aggregates.setdefault(row.name, set())
        if row.aggregate is not None:
            of_host.add(row.aggregate)
    return tuple(
        HostRecord(
            name=name,
            generation=row.generation,
            is_disabled=row.disabled_reason is not None,
            reason=row.disabled_reason or "",
            aggregates=frozenset(aggregates[name]),
        )
        for name, row in sorted(hosts.items())
    )


def disable(connection: sa.Connection, name: str, reason: str) -> HostRecord:
    """Offer nothing of a host.

    :raises Refused: when there is no such host.
    """
    return _set(connection, name, reason)


def enable(connection: sa.Connection, name: str) -> HostRecord:
    """Offer a host's free units again.

    :raises Refused: when there is no such host.
    """
    return _set(connection, name, None)


def _set(connection: sa.Connection, name: str, why: str | None) -> HostRecord:
    host = connection.execute(statements.LOCK_NAMED, {"host": name}).first()
    if host is None:
        raise refusals.host_unknown(name)
    connection.execute(statements.DISABLE, {"host_id": host.id, "why": why})
    count(connection, host.id, is_disabled=why is not None)
    (found,) = records(connection, name)
    return found


def count(
    connection: sa.Connection, host_id: int, *, is_disabled: bool
) -> None:
    """Write what a host supplies; nothing, where it is disabled."""
    found = rows.stored(
        connection.execute(statements.FREE_AND_TAKEN, {"host_id": host_id})
    )
    units = [s.record for s in found]
    offered = [
        r.unit for r in units if counters.is_offered(r) and not is_disabled
    ]
    keys = {unit.key for unit in offered}
    counters.rewrite(
        connection,
        host_id,
        offered,
        [r.unit for r in units if r.unit.key not in keys],
    )

"""Carrying out what ``allocation.inventory`` decided, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin.allocation import inventory, refusals, validation
from gpu_passthrough_plugin.allocation.inventory import Change, Plan
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    host_query,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import HostRecord, SyncReport
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord


def unchanged(connection: sa.Connection, shown: Shown) -> SyncReport | None:
    """What to report when the host published the same before.

    None when it did not, or the ledger could not take all of it then.

    :raises Refused: when another machine published under its name.
    """
    row = connection.execute(statements.HOST, {"host": shown.host}).first()
    if row is None:
        return None
    validation.require_machine(row.machine, shown)
    is_new = shown.machine not in ("", row.machine)
    if row.published != _digest(shown) or is_new:
        return None
    return SyncReport((), (), (), (), row.generation)


def publish(connection: sa.Connection, shown: Shown) -> SyncReport:
    """Make ``shown`` the inventory of its host; what that changed.

    :raises Refused: when another machine published under its name.
    :raises RetryRequest: when another changed the same rows meanwhile.
    """
    host = _held(connection, shown)
    found = connection.execute(statements.HOST_UNITS, {"host": shown.host})
    stored = rows.stored(found)
    plan = inventory.plan([s.record for s in stored], shown.units)
    if not plan.is_empty:
        _carry_out(connection, host, plan, stored)
    is_moved = _set_aggregates(connection, host.id, shown.aggregates)
    generation = host.generation + (is_moved or not plan.is_empty)
    result = connection.execute(
        statements.PUBLISHED,
        {
            "host_id": host.id,
            "old": host.generation,
            "new": generation,
            "by": shown.machine or host.machine,
            "highest": _highest(host, plan),
            "digest": _digest(shown) if _is_settled(plan, stored) else None,
        },
    )
    _one(result, shown.host)
    is_disabled = host.disabled_reason is not None
    capacity_counters.count(connection, host.id, is_disabled=is_disabled)
    return SyncReport(
        added=plan.added,
        changed=tuple(change.after.unit for change in plan.changed),
        removed=tuple(record.unit for record in plan.removed),
        missing=plan.missing,
        generation=generation,
        withheld=plan.withheld,
    )


def _digest(shown: Shown) -> str:
    """The same for the same units and aggregates, in any order."""
    words = [repr(sorted(shown.aggregates))]
    for unit in sorted(shown.units, key=lambda u: u.key.address):
        words.append(repr((*unit.key, unit.iommu_group)))
        words.append(repr((unit.numa_node, unit.socket, unit.switch)))
        words.append(repr(sorted(unit.traits)))
        words += [
            f"{tuple(f.address)} {f.vendor_id} {f.product_id}"
            f" {f.class_code} {f.device_type} {f.is_primary}"
            for f in unit.functions
        ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _is_settled(plan: Plan, stored: Sequence[Stored]) -> bool:
    """Whether publishing the same again changes nothing, ever.

    What is withheld, or missing, is taken when a unit is freed.
    """
    after = {s.record.unit.key: s.record for s in stored}
    after |= {c.after.unit.key: c.after for c in plan.changed}
    for record in plan.removed:
        del after[record.unit.key]
    return not plan.withheld and not any(r.is_missing for r in after.values())


def _held(connection: sa.Connection, shown: Shown) -> sa.Row[Any]:
    """The host's row, which nobody else changes until this is committed."""
    bound = {"host": shown.host}
    row = connection.execute(statements.LOCK_NAMED, bound).first()
    if row is None:
        connection.execute(
            statements.ADD_HOST, {"name": shown.host, "generation": 0}
        )
        row = connection.execute(statements.LOCK_NAMED, bound).one()
    validation.require_machine(row.machine, shown)
    return row


def _set_aggregates(
    connection: sa.Connection, host_id: int, wanted: frozenset[str]
) -> bool:
    """Whether the host is in others now."""
    bound = {"host_id": host_id}
    rows = connection.execute(statements.AGGREGATES, bound)
    if {row.name for row in rows} == wanted:
        return False
    connection.execute(statements.REMOVE_AGGREGATES, bound)
    if wanted:
        connection.execute(
            statements.ADD_AGGREGATES,
            [bound | {"name": name} for name in sorted(wanted)],
        )
    return True


def _carry_out(
    connection: sa.Connection,
    host: sa.Row[Any],
    plan: Plan,
    stored: Sequence[Stored],
) -> None:
    """What goes first, what comes last: no function is in two units."""
    ids = {s.record.unit.key: s.id for s in stored}
    host_id = host.id
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
    added = _add(connection, host_id, plan.added, _highest(host, plan) + 1)
    for unit in plan.added:
        functions += rows.function_values(
            host_id, added[str(unit.key.address)], unit
        )
    if functions:
        connection.execute(statements.ADD_FUNCTIONS, functions)


def _highest(host: sa.Row[Any], plan: Plan) -> int:
    """The highest generation that a unit of the host had when it went."""
    gone = (record.generation for record in plan.removed)
    return max((int(host.highest_generation), *gone))


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


def _add(
    connection: sa.Connection,
    host_id: int,
    units: Sequence[Unit],
    generation: int,
) -> Mapping[str, int]:
    """The ids of added units, by address."""
    if not units:
        return {}
    connection.execute(
        statements.ADD_UNITS,
        [
            rows.unit_values(
                UnitRecord(unit, State.FREE, None, generation, False, "")
            )
            | {"host_id": host_id, "address": str(unit.key.address)}
            for unit in units
        ],
    )
    found = connection.execute(statements.UNIT_IDS, {"host_id": host_id})
    return {row.address: row.id for row in found}


def _one(result: sa.CursorResult[Any], host: str) -> None:
    if result.rowcount != 1:
        raise exception.RetryRequest(refusals.inventory_lost(host))


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
    capacity_counters.count(connection, host.id, is_disabled=why is not None)
    (found,) = host_query.records(connection, name)
    return found

"""How the ledger stores what a host offers: its inventory and its cordon.

``allocation.inventory`` decides what changes; this writes it, in one
transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin.allocation import (
    events,
    inventory,
    refusals,
    validation,
)
from gpu_passthrough_plugin.allocation.inventory import (
    InventoryPlan,
    Publication,
    RecordChange,
)
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    host_query,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.allocation.sql.rows import (
    MalformedRows,
    StoredUnit,
    UnitRows,
)
from gpu_passthrough_plugin.model.allocation import HostRecord, SyncReport
from gpu_passthrough_plugin.model.unit import UnitRecord


def report_if_unchanged(
    connection: sa.Connection, publication: Publication
) -> SyncReport | None:
    """Return the report of publishing again what is published already.

    Return None if something differs, the ledger could not take all of it
    the last time, or a record of the host is malformed.

    :raises Refused: when another machine published under this name.
    """
    bound = {"host": publication.host}
    row = connection.execute(statements.HOST, bound).first()
    if row is None:
        return None
    validation.require_same_machine(row.machine, publication)
    is_new_machine = publication.machine not in ("", row.machine)
    if row.published != _digest(publication) or is_new_machine:
        return None
    if rows.host_problem(row) or _read_rows(connection, row.name).malformed:
        return None
    return SyncReport((), (), (), (), row.generation)


def publish(
    connection: sa.Connection,
    publication: Publication,
    event_writer: EventWriter,
) -> SyncReport:
    """Replace a host's inventory; return what that changed.

    :raises Refused: when another machine published under this name.
    :raises RetryRequest: when another client changed the same rows.
    """
    host = _lock_or_add_host(connection, publication)
    stored, malformed = _read_rows(connection, publication.host)
    replaced = [m for m in malformed if not m.is_held]
    plan = inventory.plan(
        [s.record for s in stored],
        publication.units,
        kept=frozenset(a for m in malformed if m.is_held for a in m.addresses),
    )
    highest = _highest_generation(host, plan, replaced)
    for unreadable in replaced:
        _remove_malformed(connection, unreadable)
    added = _new_records(plan, replaced, highest + 1)
    if not plan.is_empty:
        _apply(connection, host.id, plan, stored, added)
    transitions = events.published(plan, added, [m.unit for m in replaced])
    event_writer.write(connection, transitions)
    is_moved = _set_aggregates(connection, host.id, publication.aggregates)
    is_changed = is_moved or bool(replaced) or not plan.is_empty
    generation = rows.count(host.generation) + is_changed
    is_settled = _is_settled(plan, stored)
    result = connection.execute(
        statements.SET_PUBLISHED,
        {
            "host_id": host.id,
            "old": host.generation,
            "new": generation,
            "by": publication.machine or host.machine,
            "highest": highest,
            "digest": _digest(publication) if is_settled else None,
        },
    )
    _require_one_row(result, publication.host)
    is_cordoned = host.disabled_reason is not None
    capacity_counters.recount(connection, host.id, is_cordoned=is_cordoned)
    return plan.report(generation, transitions)


def _read_rows(connection: sa.Connection, host: str) -> UnitRows:
    return rows.read_rows(
        connection.execute(statements.HOST_UNITS, {"host": host})
    )


def _remove_malformed(
    connection: sa.Connection, malformed: MalformedRows
) -> None:
    bound = {"unit_id": malformed.id}
    connection.execute(statements.REMOVE_FUNCTIONS, bound)
    connection.execute(statements.REMOVE_MALFORMED_UNIT, bound)


def _new_records(
    plan: InventoryPlan, replaced: Sequence[MalformedRows], generation: int
) -> list[UnitRecord]:
    """Return the records of added units: free, or quarantined.

    Whether a unit was clean is not known where its record was malformed.
    """
    return [
        inventory.new_record(
            unit, generation, [(m.unit, m.addresses) for m in replaced]
        )
        for unit in plan.added
    ]


class CordonChange(NamedTuple):
    """A host that is to be cordoned, or offered again.

    :param reason: why it is cordoned; None to offer it.
    :param expected: why it is cordoned now, empty for a host that is
        offered; None for whatever it is.
    """

    host: str
    reason: str | None
    expected: str | None = None


def set_cordon(
    connection: sa.Connection,
    change: CordonChange,
    event_writer: EventWriter,
) -> HostRecord:
    """Offer no unit of a host to new claims, or its free units again.

    :raises Refused: when the ledger has no such host.
    :raises Conflict: when it is not as expected.
    """
    name, reason = change.host, change.reason
    host = connection.execute(statements.LOCK_HOST, {"host": name}).first()
    if host is None:
        raise refusals.host_unknown(name)
    if host.disabled_reason != reason:
        # A commit that was not answered may have written it.
        (before,) = host_query.read_hosts(connection, name)
        validation.require_cordon(before, change.expected)
    bound = {"host_id": host.id, "why": reason}
    connection.execute(statements.SET_CORDON, bound)
    is_cordoned = reason is not None
    capacity_counters.recount(connection, host.id, is_cordoned=is_cordoned)
    (record,) = host_query.read_hosts(connection, name)
    old_reason = host.disabled_reason
    event_writer.write(
        connection,
        events.cordoned(record, old_reason is not None, old_reason or ""),
    )
    return record


def watch(connection: sa.Connection, name: str, is_watched: bool) -> None:
    """Keep whether a host is lost once its agent answers no more.

    :raises Refused: when the ledger has no such host.
    """
    bound = {"host": name, "watched": is_watched}
    if connection.execute(statements.SET_WATCHED, bound).rowcount != 1:
        raise refusals.host_unknown(name)


def _digest(publication: Publication) -> str:
    """Return a digest of units and aggregates, whatever their order."""
    words = [repr(sorted(publication.aggregates))]
    for unit in sorted(publication.units, key=lambda u: u.key.address):
        words.append(repr((*unit.key, unit.iommu_group)))
        words.append(repr((unit.numa_node, unit.socket, unit.switch)))
        words.append(repr(sorted(unit.traits)))
        words += [
            f"{tuple(f.address)} {f.vendor_id} {f.product_id}"
            f" {f.class_code} {f.device_type} {f.is_primary}"
            for f in unit.functions
        ]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def _is_settled(plan: InventoryPlan, stored: Sequence[StoredUnit]) -> bool:
    """Return whether publishing the same again can never change anything.

    A unit that is withheld or missing is replaced once it is free.
    """
    after = {s.record.unit.key: s.record for s in stored}
    after |= {c.after.unit.key: c.after for c in plan.changed}
    for record in plan.removed:
        del after[record.unit.key]
    return not plan.withheld and not any(r.is_missing for r in after.values())


def _lock_or_add_host(
    connection: sa.Connection, publication: Publication
) -> sa.Row[Any]:
    """Return the host's row, locked until the transaction ends."""
    bound = {"host": publication.host}
    row = connection.execute(statements.LOCK_HOST, bound).first()
    if row is None:
        connection.execute(
            statements.ADD_HOST, {"name": publication.host, "generation": 0}
        )
        row = connection.execute(statements.LOCK_HOST, bound).one()
    validation.require_same_machine(row.machine, publication)
    return row


def _set_aggregates(
    connection: sa.Connection, host_id: int, names: frozenset[str]
) -> bool:
    """Make these the host's aggregates; return whether that changed any."""
    bound = {"host_id": host_id}
    stored = connection.execute(statements.AGGREGATES, bound)
    if {row.name for row in stored} == names:
        return False
    connection.execute(statements.REMOVE_AGGREGATES, bound)
    if names:
        connection.execute(
            statements.ADD_AGGREGATES,
            [bound | {"name": name} for name in sorted(names)],
        )
    return True


def _apply(
    connection: sa.Connection,
    host_id: int,
    plan: InventoryPlan,
    stored: Sequence[StoredUnit],
    new: Sequence[UnitRecord],
) -> None:
    """Write a plan: removals first, so that no function is in two units.

    :param new: the records of the added units.
    """
    ids = {s.record.unit.key: s.id for s in stored}
    for record in plan.removed:
        _remove_unit(connection, ids[record.unit.key], record)
    altered = [c for c in plan.changed if _alters_functions(c)]
    for change in altered:
        bound = {"unit_id": ids[change.before.unit.key]}
        connection.execute(statements.REMOVE_FUNCTIONS, bound)
    for change in plan.changed:
        _change_unit(connection, ids[change.before.unit.key], change)
    functions = [
        row
        for change in altered
        for row in rows.function_values(
            host_id, ids[change.before.unit.key], change.after.unit
        )
    ]
    added = _add_units(connection, host_id, new)
    for unit in plan.added:
        functions += rows.function_values(
            host_id, added[str(unit.key.address)], unit
        )
    if functions:
        connection.execute(statements.ADD_FUNCTIONS, functions)


def _highest_generation(
    host: sa.Row[Any], plan: InventoryPlan, replaced: Sequence[MalformedRows]
) -> int:
    """Return the highest generation of any unit that the host ever lost."""
    return max(
        rows.count(host.highest_generation),
        *(record.generation for record in plan.removed),
        *(malformed.generation for malformed in replaced),
        0,
    )


def _alters_functions(change: RecordChange) -> bool:
    return change.before.unit.functions != change.after.unit.functions


def _remove_unit(
    connection: sa.Connection, unit_id: int, record: UnitRecord
) -> None:
    # Not left to ON DELETE CASCADE, so that a table that refers to a unit
    # and is forgotten here makes the transaction fail.
    bound = {"unit_id": unit_id}
    connection.execute(statements.REMOVE_FUNCTIONS, bound)
    bound["old"] = record.generation
    result = connection.execute(statements.REMOVE_UNIT, bound)
    _require_one_row(result, record.unit.key.host)


def _change_unit(
    connection: sa.Connection, unit_id: int, change: RecordChange
) -> None:
    bound = rows.unit_values(change.after) | {
        "unit_id": unit_id,
        "old": change.before.generation,
    }
    result = connection.execute(statements.CHANGE_UNIT, bound)
    _require_one_row(result, change.before.unit.key.host)


def _add_units(
    connection: sa.Connection,
    host_id: int,
    records: Sequence[UnitRecord],
) -> Mapping[str, int]:
    """Add units; return the ids of the host's rows by address."""
    if not records:
        return {}
    connection.execute(
        statements.ADD_UNITS,
        [
            rows.unit_values(record)
            | {"host_id": host_id, "address": str(record.unit.key.address)}
            for record in records
        ],
    )
    added = connection.execute(statements.UNIT_IDS, {"host_id": host_id})
    return {row.address: row.id for row in added}


def _require_one_row(result: sa.CursorResult[Any], host: str) -> None:
    if result.rowcount != 1:
        raise exception.RetryRequest(refusals.inventory_lost(host))

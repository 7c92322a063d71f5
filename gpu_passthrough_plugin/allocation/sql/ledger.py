"""The ``sql`` driver: SQLite by default, MariaDB or PostgreSQL by URL."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory
from gpu_passthrough_plugin.allocation.driver import Driver, LedgerSettings
from gpu_passthrough_plugin.allocation.sql import (
    claim,
    publish,
    rows,
    statements,
    version,
)
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    EDGES,
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

T = TypeVar("T")


class SqlLedger(Driver):
    """The ledger in a database; every method is one transaction."""

    def __init__(self, settings: LedgerSettings) -> None:
        self.database = Database(settings)
        self._is_checked = False

    def sync(self) -> str:
        return version.sync(self.database)

    def version(self) -> str:
        return version.found(self.database)

    def close(self) -> None:
        self._is_checked = False
        self.database.close()

    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        inventory.check(host, units)
        return self._write(lambda c: publish.publish(c, host, units))

    def hosts(self) -> tuple[HostRecord, ...]:
        raise NotImplementedError

    def disable(self, host: str, reason: str) -> HostRecord:
        raise NotImplementedError

    def enable(self, host: str) -> HostRecord:
        raise NotImplementedError

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        found = self._read(lambda c: rows.stored(c, host))
        return tuple(
            s.record for s in found if not states or s.record.state in states
        )

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        found = self._read(lambda c: rows.stored(c, host))
        return claim.candidates(found, request, limit)

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        name = _uuid(consumer)
        return self._write(lambda c: claim.claim(c, request, name, host))

    def allocations(self) -> tuple[Allocation, ...]:
        return self._read(_allocations)

    def allocation(self, consumer: str) -> Allocation:
        name = _uuid(consumer)
        return self._read(lambda c: _allocation(c, name))

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        _check_edge(record, state)
        if state is not State.QUARANTINED:
            reason = ""
        self._write(lambda c: _move(c, record, state, reason))
        is_over = state in (State.FREE, State.QUARANTINED)
        return dataclasses.replace(
            record,
            state=state,
            consumer=None if is_over else record.consumer,
            generation=record.generation + 1,
            reason=reason,
        )

    def unit(self, key: UnitKey) -> UnitRecord:
        for record in self.records(host=key.host):
            if record.unit.key == key:
                return record
        raise _gone(key)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        self._check()
        return self.database.read(work)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        self._check()
        return self.database.write(work)

    def _check(self) -> None:
        """Return when the schema is this code's; looked up once."""
        if not self._is_checked:
            version.check(self.database)
            self._is_checked = True


def _uuid(text: str) -> str:
    """A consumer's UUID as the ledger keeps it, in lower case."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"consumer {text!r} is no UUID; wanted such as"
            " 5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
        ) from error


def _allocations(connection: sa.Connection) -> tuple[Allocation, ...]:
    units: dict[str, list[UnitRecord]] = {}
    for found in rows.stored(connection):
        consumer = found.record.consumer
        if consumer is not None:
            units.setdefault(consumer, []).append(found.record)
    return tuple(
        Allocation(row.uuid, row.host, row.request, tuple(units[row.uuid]))
        for row in sorted(
            connection.execute(statements.ALL_CONSUMERS),
            key=lambda row: str(row.uuid),
        )
    )


def _allocation(connection: sa.Connection, consumer: str) -> Allocation:
    row = connection.execute(statements.CONSUMER, {"uuid": consumer}).first()
    if row is None:
        raise errors.Refused(
            f"consumer {consumer} holds nothing; see"
            " 'gpu-passthrough allocation list'"
        )
    return claim.allocation(connection, row.uuid, row.host, row.request)


def _check_edge(record: UnitRecord, state: State) -> None:
    key, now = record.unit.key, record.state
    if (now, state) == (State.FREE, State.CLAIMED):
        raise errors.Refused(
            f"unit {key} is free, and only a claim for a consumer takes it;"
            " run gpu-passthrough allocation create"
        )
    if state not in EDGES[now]:
        possible = ", ".join(s for s in State if s in EDGES[now])
        raise errors.Refused(
            f"unit {key} is {now} and cannot become {state} from there;"
            f" possible: {possible}"
        )


def _move(
    connection: sa.Connection, record: UnitRecord, state: State, reason: str
) -> None:
    key = record.unit.key
    bound = {"host": key.host, "unit_address": str(key.address)}
    moved = connection.execute(
        statements.MOVE,
        bound
        | {
            "old": record.generation,
            "old_state": record.state.value,
            "new_state": state.value,
            "new_reason": reason,
        },
    )
    if moved.rowcount != 1:
        raise _lost(connection, record)
    if state not in (State.FREE, State.QUARANTINED):
        return
    holder = connection.execute(statements.HOLDER, bound).scalar()
    if holder is not None:
        connection.execute(statements.FREE, bound)
        connection.execute(statements.FORGET, {"consumer_id": holder})


def _lost(connection: sa.Connection, record: UnitRecord) -> errors.Refused:
    """Why a record could not be moved."""
    key = record.unit.key
    for found in rows.stored(connection, key.host):
        if found.record.unit.key == key:
            return errors.Conflict(
                f"unit {key} is {found.record.state} at generation"
                f" {found.record.generation} by now, not {record.state} at"
                f" {record.generation}; read it again"
            )
    return _gone(key)


def _gone(key: UnitKey) -> errors.Refused:
    return errors.Refused(
        f"the ledger has no unit {key}; see 'gpu-passthrough inventory list'"
    )

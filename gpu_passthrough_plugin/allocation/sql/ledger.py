"""The ``sql`` driver: SQLite by default, MariaDB or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import inventory, refusals, validation
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.inventory import Publication
from gpu_passthrough_plugin.allocation.sql import (
    claim,
    claim_units,
    event_log,
    host_query,
    host_tasks,
    publish,
    rows,
    statements,
    version,
)
from gpu_passthrough_plugin.allocation.sql.claim import Claimer
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.allocation.sql.host_query import HostQuery
from gpu_passthrough_plugin.allocation.sql.move import Move
from gpu_passthrough_plugin.allocation.sql.publish import CordonChange
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
    UnitListing,
)
from gpu_passthrough_plugin.model.event import EventListing, EventQuery
from gpu_passthrough_plugin.model.host_task import (
    HostTask,
    TaskListing,
    TaskState,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

T = TypeVar("T")


class SqlLedger(LedgerDriver):
    """The ledger in a database; every write is one transaction."""

    keeps_events = True
    keeps_tasks = True

    def __init__(self, settings: LedgerSettings) -> None:
        self.database = Database(settings)
        self._weight = settings.weight
        self._event_writer = EventWriter(self, settings)
        self._claimer = Claimer(self.database, self._event_writer)
        self._is_version_checked = False

    @property
    def location(self) -> str:
        return self.database.location

    def sync(self) -> str:
        return version.sync(self.database)

    def version(self) -> str:
        return version.read_version(self.database)

    def close(self) -> None:
        self._is_version_checked = False
        self.database.close()

    def renew(self) -> None:
        self._is_version_checked = False
        self.database.close_if_replaced()

    def publish(
        self,
        host: str,
        units: Sequence[Unit],
        *,
        aggregates: frozenset[str] = frozenset(),
        machine: str = "",
        replaces: bool = False,
    ) -> SyncReport:
        inventory.require_consistent(host, units)
        publication = Publication(
            host, tuple(units), aggregates, machine, replaces
        )
        report = self._read(
            lambda c: publish.report_if_unchanged(c, publication)
        )
        if report is not None:
            return report
        writer = self._event_writer
        return self._write(lambda c: publish.publish(c, publication, writer))

    def hosts(self) -> tuple[HostRecord, ...]:
        return self._read(host_query.read_hosts)

    def host(self, name: str) -> HostRecord | None:
        records = self._read(lambda c: host_query.read_hosts(c, name))
        return records[0] if records else None

    def cordon(
        self, host: str, reason: str, *, expected: str | None = None
    ) -> HostRecord:
        change = CordonChange(host, reason, expected)
        return self._set_cordon(change)

    def uncordon(
        self, host: str, *, expected: str | None = None
    ) -> HostRecord:
        return self._set_cordon(CordonChange(host, None, expected))

    def _set_cordon(self, change: CordonChange) -> HostRecord:
        writer = self._event_writer
        return self._write(lambda c: publish.set_cordon(c, change, writer))

    def watch(self, host: str, is_watched: bool) -> None:
        self._write(lambda c: publish.watch(c, host, is_watched))

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        if host is None:
            statement = statements.ALL_UNITS
            if states:
                statement = statements.ALL_UNITS_IN_STATES
        else:
            statement = statements.HOST_UNITS
            if states:
                statement = statements.HOST_UNITS_IN_STATES
        return self._records(
            statement, host=host, states=[state.value for state in states]
        )

    def listing(self, *, host: str | None = None) -> UnitListing:
        statement = statements.ALL_UNITS
        if host is not None:
            statement = statements.HOST_UNITS
        read = self._read(
            lambda c: rows.read_rows(c.execute(statement, {"host": host}))
        )
        return UnitListing(
            tuple(stored.record for stored in read.units),
            tuple(malformed.unit for malformed in read.malformed),
        )

    def _records(
        self, statement: sa.Select[Any], **bound: object
    ) -> tuple[UnitRecord, ...]:
        units = self._read(
            lambda c: rows.read_units(c.execute(statement, bound))
        )
        return tuple(stored.record for stored in units)

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        query = HostQuery(request, host, self._weight)
        return self._read(lambda c: claim.candidates(c, query, limit))

    def no_valid_host(
        self, request: Request, *, host: str | None = None
    ) -> errors.NoValidHost:
        query = HostQuery(request, host, self._weight)
        return self._read(lambda c: host_query.no_valid_host(c, query))

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        self._require_version()
        allocation = self._claimer.claim(
            HostQuery(request, host, self._weight), uuid
        )
        self._event_writer.prune_if_due(self.database)
        return allocation

    def claim_units(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        return self._write(
            lambda c: claim_units.claim_units(
                c, keys, uuid, request, self._event_writer
            )
        )

    def allocations(self) -> tuple[Allocation, ...]:
        return self._read(
            lambda c: rows.allocations(
                rows.read_units(c.execute(statements.HELD_UNITS))
            )
        )

    def allocation(self, consumer: str) -> Allocation:
        uuid = validation.consumer_uuid(consumer)
        allocation = self._read(lambda c: claim_units.allocation(c, uuid))
        if allocation is None:
            raise refusals.consumer_holds_nothing(uuid)
        return allocation

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        self._require_version()
        move = Move(record, state, reason, self._event_writer)
        self.database.write(
            move.attempt, on_outcome_unknown=move.outcome_unknown
        )
        self._event_writer.prune_if_due(self.database)
        return move.after

    def unit(self, key: UnitKey) -> UnitRecord:
        records = self._records(
            statements.ONE_UNIT, host=key.host, unit_address=str(key.address)
        )
        if not records:
            raise refusals.unit_unknown(key)
        return records[0]

    def events(self, query: EventQuery) -> EventListing:
        return self._read(lambda c: event_log.read(c, query))

    def add_task(self, task: HostTask) -> HostTask:
        return self._write(lambda c: host_tasks.add(c, task))

    def tasks(
        self,
        *,
        host: str | None = None,
        states: Collection[TaskState] = (),
        uuid: str | None = None,
    ) -> TaskListing:
        return self._read(lambda c: host_tasks.read(c, host, states, uuid))

    def change_task(
        self, task: HostTask, state: TaskState, detail: str = ""
    ) -> HostTask:
        return self._write(lambda c: host_tasks.change(c, task, state, detail))

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        self._require_version()
        return self.database.read(work)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        self._require_version()
        return self.database.write(work)

    def _require_version(self) -> None:
        """Raise if the schema is not this release's; read it only once."""
        if not self._is_version_checked:
            version.require_current_version(self.database)
            self._is_version_checked = True

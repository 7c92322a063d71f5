"""The ``sql`` driver: SQLite by default, MariaDB or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation import inventory, refusals, validation
from gpu_passthrough_plugin.allocation.driver import Driver, LedgerSettings
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    claim,
    claim_units,
    host_query,
    publish,
    rows,
    statements,
    version,
)
from gpu_passthrough_plugin.allocation.sql.claim import Attempts
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.host_query import Look
from gpu_passthrough_plugin.allocation.sql.move import Move
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import (
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
        self._weight = settings.weight
        self._attempts = Attempts(self.database)
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
        shown = Shown(host, tuple(units), aggregates, machine, replaces)
        report = self._read(lambda c: publish.unchanged(c, shown))
        if report is not None:
            return report
        return self._write(lambda c: publish.publish(c, shown))

    def hosts(self) -> tuple[HostRecord, ...]:
        return self._read(lambda c: host_query.records(c))

    def disable(self, host: str, reason: str) -> HostRecord:
        return self._write(lambda c: publish.disable(c, host, reason))

    def enable(self, host: str) -> HostRecord:
        return self._write(lambda c: publish.enable(c, host))

    def records(
        self, *, host: str | None = None, states: Collection[State] = ()
    ) -> tuple[UnitRecord, ...]:
        if host is None:
            asked = statements.UNITS_IN if states else statements.ALL_UNITS
        else:
            asked = (
                statements.HOST_UNITS_IN if states else statements.HOST_UNITS
            )
        return self._records(
            asked, host=host, states=[state.value for state in states]
        )

    def _records(
        self, asked: sa.Select[Any], **bound: object
    ) -> tuple[UnitRecord, ...]:
        found = self._read(lambda c: rows.stored(c.execute(asked, bound)))
        return tuple(s.record for s in found)

    def candidates(
        self, request: Request, *, host: str | None = None, limit: int = 10
    ) -> tuple[Candidate, ...]:
        wanted = Look(request, host, self._weight)
        return self._read(
            lambda c: claim.candidates(
                c, wanted, capacity_counters.read(c), limit
            )
        )

    def claim(
        self, request: Request, consumer: str, *, host: str | None = None
    ) -> Allocation:
        name = validation.consumer(consumer)
        self._check()
        return self._attempts.run(Look(request, host, self._weight), name)

    def take(
        self, keys: Collection[UnitKey], consumer: str, request: str
    ) -> Allocation:
        name = validation.consumer(consumer)
        return self._write(lambda c: claim_units.take(c, keys, name, request))

    def allocations(self) -> tuple[Allocation, ...]:
        return self._read(
            lambda c: claim_units.allocations(
                rows.stored(c.execute(statements.HELD_UNITS))
            )
        )

    def allocation(self, consumer: str) -> Allocation:
        name = validation.consumer(consumer)
        found = self._read(lambda c: claim_units.allocation(c, name))
        if found is None:
            raise refusals.consumer_holds_nothing(name)
        return found

    def move(
        self, record: UnitRecord, state: State, *, reason: str = ""
    ) -> UnitRecord:
        self._check()
        moving = Move(record, state, reason)
        self.database.write(moving.once, unsure=moving.doubt)
        return moving.after

    def unit(self, key: UnitKey) -> UnitRecord:
        found = self._records(
            statements.ONE_UNIT, host=key.host, unit_address=str(key.address)
        )
        if not found:
            raise refusals.unit_unknown(key)
        return found[0]

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

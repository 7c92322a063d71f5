"""How a request is claimed: find a host, lock it, choose, write, or retry.

A claim does not read the fleet: ``capacity_counters`` tells which hosts
are worth looking at, in the order of the operator's weight.  On a server a
claim locks the row of the host that it looks at, and passes over hosts that
other clients have locked, so that many clients do not queue for one row.
Before it answers that no host fits, it waits for those that were locked.

SQLite has one writer at a time, whose transaction begins before it reads.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import choice, events
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    claim_units,
    host_query,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.capacity_counters import ModelIds
from gpu_passthrough_plugin.allocation.sql.claim_units import (
    ConsumerExists,
    HostUnits,
)
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.allocation.sql.host_query import HostQuery
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    FreeUnit,
)
from gpu_passthrough_plugin.model.request import Request

# For a consumer that exists when it is added and is gone when it is read.
_MAX_ATTEMPTS = 5


class Claimer:
    """Claims on one database; remembers which device models there are."""

    def __init__(self, database: Database, event_writer: EventWriter) -> None:
        self._database = database
        self._event_writer = event_writer
        self._model_ids: ModelIds = {}

    def claim(self, query: HostQuery, consumer: str) -> Allocation:
        """Return what the consumer holds, by this claim or an earlier one.

        :raises NoValidHost: when no host can satisfy the request.
        :raises Refused: when the consumer holds something else.
        :raises Conflict: when other clients were faster at each attempt.
        """
        for _ in range(_MAX_ATTEMPTS):
            is_new = True
            allocation = None
            try:
                allocation = self._new_allocation(query, consumer)
            except ConsumerExists:
                is_new = False
            allocation = allocation or self._database.read(
                lambda c: claim_units.existing_allocation(
                    c, query.request, consumer, query.host
                )
            )
            if allocation is not None:
                return allocation
            if is_new:
                raise self._database.read(
                    lambda c: host_query.no_valid_host(c, query)
                )
        raise errors.Conflict(
            f"consumer {consumer} is claimed for and released at the same"
            " time; try again"
        )

    def _new_allocation(
        self, query: HostQuery, consumer: str
    ) -> Allocation | None:
        """Claim with the device models remembered, then with all of them."""
        allocation = None
        if self._model_ids:
            allocation = self._once(query, consumer)
        if allocation is None:
            model_ids = self._database.read(capacity_counters.read_model_ids)
            if model_ids != self._model_ids:
                self._model_ids = model_ids
                allocation = self._once(query, consumer)
        return allocation

    def _once(self, query: HostQuery, consumer: str) -> Allocation | None:
        """Claim on the first host that fits, waiting for locked ones last."""
        ids = self._model_ids
        try:
            return self._database.write(
                lambda c: self._recorded(c, _claim(c, query, ids, consumer))
            )
        except _HostsLocked as error:
            left = list(error.host_ids)
        random.shuffle(left)
        for host_id in left:
            allocation = self._on_host(query, consumer, host_id)
            if allocation is not None:
                return allocation
        return None

    def _on_host(
        self, query: HostQuery, consumer: str, host_id: int
    ) -> Allocation | None:
        ids = self._model_ids
        return self._database.write(
            lambda c: self._recorded(
                c, _claim_on_host(c, query, ids, consumer, host_id)
            )
        )

    def _recorded(
        self, connection: sa.Connection, allocation: Allocation | None
    ) -> Allocation | None:
        """Add the events of a new allocation to its transaction."""
        if allocation is not None:
            self._event_writer.write(connection, events.claimed(allocation))
        return allocation


def candidates(
    connection: sa.Connection, query: HostQuery, limit: int
) -> tuple[Candidate, ...]:
    """Return where the request fits, in the order in which a claim looks."""
    best: list[Candidate] = []
    model_ids = capacity_counters.read_model_ids(connection)
    for page in host_query.pages(connection, query, model_ids):
        for host_id in page:
            host = _read_host(connection, host_id)
            best += _choices(query.request, host, limit)
            if len(best) >= limit:
                return tuple(best[:limit])
    return tuple(best)


class _HostsLocked(Exception):
    """Nothing fits, except perhaps on hosts that other clients have locked."""

    def __init__(self, host_ids: Sequence[int]) -> None:
        super().__init__(host_ids)
        self.host_ids = host_ids


def _claim(
    connection: sa.Connection,
    query: HostQuery,
    model_ids: ModelIds,
    consumer: str,
) -> Allocation | None:
    """Claim on the first host that fits; return None if none does.

    :raises _HostsLocked: when it may fit where other clients hold a lock.
    :raises ConsumerExists: when the ledger already has the consumer.
    :raises RetryRequest: when another client took one of the units.
    """
    busy: list[int] = []
    for host_id in _lock_hosts(connection, query, model_ids, busy):
        allocation = _claim_locked(
            connection, query, model_ids, consumer, host_id
        )
        if allocation is not None:
            return allocation
    if busy:
        raise _HostsLocked(busy)
    return None


def _claim_on_host(
    connection: sa.Connection,
    query: HostQuery,
    model_ids: ModelIds,
    consumer: str,
    host_id: int,
) -> Allocation | None:
    """Wait for a host's lock, then claim there; return None if none fits."""
    bound = {"host_id": host_id}
    if connection.execute(statements.LOCK_OFFERED, bound).first() is None:
        return None
    return _claim_locked(connection, query, model_ids, consumer, host_id)


def _lock_hosts(
    connection: sa.Connection,
    query: HostQuery,
    model_ids: ModelIds,
    busy: list[int],
) -> Iterator[int]:
    """Yield hosts where the request may fit, each locked by then.

    :param busy: receives the hosts that other clients have locked or
        cordoned: waiting for their locks will tell.
    """
    pages = host_query.pages(connection, query, model_ids)
    if connection.dialect.name == "sqlite":
        for page in pages:
            yield from page
        return
    seen: set[int] = set()
    for host_id in host_query.lock_idle(connection, query, model_ids):
        seen.add(host_id)
        yield host_id
    for page in pages:
        left = [host_id for host_id in page if host_id not in seen]
        # Clients that all come too late should not try the same hosts.
        random.shuffle(left)
        for host_id in left:
            bound = {"host_id": host_id}
            lock = statements.LOCK_OFFERED_IF_IDLE
            if connection.execute(lock, bound).first():
                yield host_id
            else:
                busy.append(host_id)


def _claim_locked(
    connection: sa.Connection,
    query: HostQuery,
    model_ids: ModelIds,
    consumer: str,
    host_id: int,
) -> Allocation | None:
    """Claim the best units of a locked host; return None if none fit."""
    host = _read_host(connection, host_id)
    best = _choices(query.request, host, 1)
    if not best:
        capacity_counters.repair(connection, host_id, host.records)
        return None
    keys = {free.unit.key for free in best[0].units}
    return claim_units.write_claim(
        connection, host, keys, query.request, consumer, model_ids
    )


def _read_host(connection: sa.Connection, host_id: int) -> HostUnits:
    bound = {"host_id": host_id}
    units = connection.execute(statements.UNITS_BY_HOST_ID, bound)
    return HostUnits(host_id, rows.read_units(units))


def _choices(
    request: Request, host: HostUnits, limit: int
) -> tuple[Candidate, ...]:
    records = host.records
    return choice.candidates(
        request,
        [FreeUnit(r.unit, r.generation) for r in records if r.is_claimable],
        [r.unit for r in records if not r.is_claimable],
        limit=limit,
    )

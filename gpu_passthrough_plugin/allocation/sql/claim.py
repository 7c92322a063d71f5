"""Claiming: find a host, hold it, choose among its units, take them.

Nobody reads the fleet: ``supply`` tells which hosts are worth a look, in
the order of the operator's weight.  On a server a claim holds the row of
the host that it looks at, and passes over those that others hold, so that
many clients do not queue for one row.  Before it says that no host fits,
it waits for those that were held.

SQLite has one writer at a time, which has begun before anything is read.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Iterator

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import choice
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    claim_units,
    host_query,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.capacity_counters import Cards
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.host_query import Look
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    FreeUnit,
)
from gpu_passthrough_plugin.model.request import Request


class Busy(Exception):
    """Nothing fits but perhaps on hosts that others hold.

    :param hosts: their ids.
    """

    def __init__(self, hosts: tuple[int, ...]) -> None:
        super().__init__(hosts)
        self.hosts = hosts


@dataclasses.dataclass(frozen=True, slots=True)
class Here:
    """One host, looked at.

    :param units: all of them, by address.
    :param found: the best sets of them for the request.
    """

    id: int
    units: tuple[Stored, ...]
    found: tuple[Candidate, ...]


def candidates(
    connection: sa.Connection, wanted: Look, known: Cards, limit: int
) -> tuple[Candidate, ...]:
    """Where the request fits, in the order in which a claim looks."""
    found: list[Candidate] = []
    for page in host_query.pages(connection, wanted, known):
        for host_id in page:
            here = _look(connection, wanted.request, host_id, limit)
            found += here.found
            if len(found) >= limit:
                return tuple(found[:limit])
    return tuple(found)


def claim(
    connection: sa.Connection, wanted: Look, known: Cards, consumer: str
) -> Allocation | None:
    """What ``consumer`` holds once this is committed; None if none fits.

    :raises Busy: when others hold hosts where it may fit.
    :raises Known: when the ledger has the consumer.
    :raises RetryRequest: when another took one of the units meanwhile.
    """
    busy: list[int] = []
    for host_id in _held(connection, wanted, known, busy):
        here = _look(connection, wanted.request, host_id, 1)
        if here.found:
            return _take(connection, wanted, known, consumer, here)
        _recount(connection, here)
    if busy:
        raise Busy(tuple(busy))
    return None


def claim_on(
    connection: sa.Connection,
    wanted: Look,
    known: Cards,
    consumer: str,
    host_id: int,
) -> Allocation | None:
    """The same on one host, once nobody else holds it."""
    bound = {"host_id": host_id}
    if connection.execute(statements.LOCK, bound).first() is None:
        return None
    here = _look(connection, wanted.request, host_id, 1)
    if not here.found:
        _recount(connection, here)
        return None
    return _take(connection, wanted, known, consumer, here)


def _held(
    connection: sa.Connection, wanted: Look, known: Cards, busy: list[int]
) -> Iterator[int]:
    """Hosts where it may fit, one after the other held.

    :param busy: gets those that others hold, or have taken out of use:
        waiting for them will tell.
    """
    pages = host_query.pages(connection, wanted, known)
    if connection.dialect.name == "sqlite":
        for page in pages:
            yield from page
        return
    seen: set[int] = set()
    for host_id in host_query.idle(connection, wanted, known):
        seen.add(host_id)
        yield host_id
    for page in pages:
        left = [host_id for host_id in page if host_id not in seen]
        # So that clients who all come too late do not try the same ones.
        random.shuffle(left)
        for host_id in left:
            bound = {"host_id": host_id}
            if connection.execute(statements.LOCK_IF_IDLE, bound).first():
                yield host_id
            else:
                busy.append(host_id)


def _look(
    connection: sa.Connection, request: Request, host_id: int, limit: int
) -> Here:
    found = connection.execute(statements.FREE_AND_TAKEN, {"host_id": host_id})
    units = rows.stored(found)
    records = [s.record for s in units]
    return Here(
        host_id,
        units,
        choice.candidates(
            request,
            [FreeUnit(r.unit, r.generation) for r in records if _free(r)],
            [r.unit for r in records if not _free(r)],
            limit=limit,
        ),
    )


_free = capacity_counters.is_offered


def _recount(connection: sa.Connection, here: Here) -> None:
    """Put right what sent a claim here, if that was wrong."""
    records = [s.record for s in here.units]
    capacity_counters.correct(
        connection,
        here.id,
        [r.unit for r in records if _free(r)],
        [r.unit for r in records if not _free(r)],
    )


def _take(
    connection: sa.Connection,
    wanted: Look,
    known: Cards,
    consumer: str,
    here: Here,
) -> Allocation:
    keys = {free.unit.key for free in here.found[0].units}
    taken = [s for s in here.units if s.record.unit.key in keys]
    consumer_id = claim_units.add_consumer(
        connection, wanted.request, consumer, here.id
    )
    claim_units.mark(connection, wanted.request, taken)
    connection.execute(
        statements.ADD_ALLOCATIONS,
        [{"unit_id": s.id, "consumer_id": consumer_id} for s in taken],
    )
    capacity_counters.change(
        connection,
        here.id,
        known,
        [
            s.record.unit
            for s in here.units
            if _free(s.record) and s.record.unit.key not in keys
        ],
        [
            s.record.unit
            for s in here.units
            if not _free(s.record) or s.record.unit.key in keys
        ],
        [s.record.unit for s in taken],
    )
    return Allocation(
        consumer=consumer,
        host=here.found[0].host,
        request=str(wanted.request),
        units=tuple(claim_units.claimed(s.record, consumer) for s in taken),
    )


Found = Allocation | None

# A consumer that is there when it is added and gone when it is read.
_MOST = 5


class Attempts:
    """Claims on one database; remembers which cards there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cards: Cards = {}

    def run(self, wanted: Look, consumer: str) -> Allocation:
        """What the consumer holds then, by this claim or one before."""
        read_held = functools.partial(
            claim_units.held,
            request=wanted.request,
            consumer=consumer,
            host=wanted.host,
        )
        for _ in range(_MOST):
            try:
                found = self._claimed(wanted, consumer)
                is_known = False
            except claim_units.Known:
                found = None
                is_known = True
            found = found or self._database.read(read_held)
            if found is not None:
                return found
            if not is_known:
                raise self._database.read(
                    lambda c: host_query.no_valid_host(c, wanted)
                )
        raise errors.Conflict(
            f"consumer {consumer} is claimed for and released at the same"
            " time; try again"
        )

    def _claimed(self, wanted: Look, consumer: str) -> Found:
        found = None
        if self._cards:
            found = self._once(wanted, consumer)
        if found is None:
            # A host may have brought another card in meanwhile.
            known = self._database.read(capacity_counters.read)
            if known != self._cards:
                self._cards = known
                found = self._once(wanted, consumer)
        return found

    def _once(self, wanted: Look, consumer: str) -> Found:
        known = self._cards
        try:
            return self._database.write(
                lambda c: claim(c, wanted, known, consumer)
            )
        except Busy as error:
            left = list(error.hosts)
        random.shuffle(left)
        for host_id in left:
            found = self._database.write(self._on(wanted, consumer, host_id))
            if found is not None:
                return found
        return None

    def _on(
        self, wanted: Look, consumer: str, host_id: int
    ) -> Callable[[sa.Connection], Found]:
        return lambda c: claim_on(c, wanted, self._cards, consumer, host_id)

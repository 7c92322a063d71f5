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
import random
from collections.abc import Iterator

import sqlalchemy as sa
from oslo_db import exception

from gpu_passthrough_plugin.allocation import choice, refusals
from gpu_passthrough_plugin.allocation.sql import (
    counters,
    look,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.cards import Cards
from gpu_passthrough_plugin.allocation.sql.look import Look
from gpu_passthrough_plugin.allocation.sql.rows import Stored
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    FreeUnit,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, UnitRecord


class Busy(Exception):
    """Nothing fits but perhaps on hosts that others hold.

    :param hosts: their ids.
    """

    def __init__(self, hosts: tuple[int, ...]) -> None:
        super().__init__(hosts)
        self.hosts = hosts


class Known(Exception):
    """The ledger has the consumer already."""


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
    for page in look.pages(connection, wanted, known):
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
    pages = look.pages(connection, wanted, known)
    if connection.dialect.name == "sqlite":
        for page in pages:
            yield from page
        return
    seen: set[int] = set()
    for host_id in look.idle(connection, wanted, known):
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


_free = counters.is_offered


def _recount(connection: sa.Connection, here: Here) -> None:
    """Put right what sent a claim here, if that was wrong."""
    records = [s.record for s in here.units]
    counters.correct(
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
    consumer_id = _add(connection, wanted.request, consumer, here.id)
    _mark(connection, wanted.request, taken)
    connection.execute(
        statements.ADD_ALLOCATIONS,
        [{"unit_id": s.id, "consumer_id": consumer_id} for s in taken],
    )
    counters.change(
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
        units=tuple(_claimed(s.record, consumer) for s in taken),
    )


def _add(
    connection: sa.Connection, request: Request, consumer: str, host_id: int
) -> int:
    try:
        return rows.key(
            connection.execute(
                statements.ADD_CONSUMER,
                {
                    "uuid": consumer,
                    "host_id": host_id,
                    "request": str(request),
                    "numa_nodes": _nodes(request),
                    "terms": _terms(request),
                },
            )
        )
    except exception.DBDuplicateEntry as error:
        raise Known from error


def _mark(
    connection: sa.Connection, request: Request, taken: list[Stored]
) -> None:
    """Take the units, each at the generation that it was read with."""
    if len(taken) == 1:
        (one,) = taken
        result = connection.execute(
            statements.CLAIM_ONE,
            {"unit_id": one.id, "old": one.record.generation},
        )
    else:
        free = [(s.id, s.record.generation) for s in taken]
        result = connection.execute(
            statements.CLAIM, {"units": [i for i, _ in free], "free": free}
        )
    if result.rowcount != len(taken):
        raise exception.RetryRequest(refusals.claim_lost(str(request)))


def _claimed(record: UnitRecord, consumer: str) -> UnitRecord:
    return dataclasses.replace(
        record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=record.generation + 1,
    )


def held(
    connection: sa.Connection,
    request: Request,
    consumer: str,
    host: str | None,
) -> Allocation | None:
    """What the consumer holds already; None if nothing.

    :raises Refused: when that is not what it asks for now.
    """
    row = connection.execute(
        statements.CONSUMER,
        {"uuid": consumer, "aggregate": request.aggregate},
    ).first()
    if row is None:
        return None
    is_same = (
        sorted(row.request.split(",")) == sorted(str(request).split(","))
        and row.numa_nodes == _nodes(request)
        and row.terms == _terms(request)
        and (request.aggregate is None or row.is_in_aggregate)
        and host in (None, row.host)
    )
    if not is_same:
        raise refusals.consumer_holds_other(consumer, row.request, row.host)
    return allocation(connection, consumer)


def allocation(connection: sa.Connection, consumer: str) -> Allocation | None:
    """What a consumer holds; None if nothing."""
    found = rows.stored(
        connection.execute(statements.UNITS_OF, {"uuid": consumer})
    )
    return allocations(found)[0] if found else None


def allocations(found: tuple[Stored, ...]) -> tuple[Allocation, ...]:
    """What the consumers of these units hold, by consumer."""
    of: dict[str, list[Stored]] = {}
    for one in found:
        of.setdefault(str(one.record.consumer), []).append(one)
    return tuple(
        Allocation(
            consumer,
            units[0].record.unit.key.host,
            str(units[0].request),
            tuple(s.record for s in units),
        )
        for consumer, units in sorted(of.items())
    )


def _nodes(request: Request) -> str | None:
    """The instance's NUMA nodes as the ledger keeps them."""
    nodes = request.numa_nodes
    return None if nodes is None else ",".join(map(str, sorted(nodes)))


def _terms(request: Request) -> str | None:
    """What else a request asks for, as the ledger keeps it."""
    words = sorted(f"!{trait}" for trait in request.forbidden_traits)
    if request.same_switch:
        words.append("same-switch")
    return " ".join(words) or None

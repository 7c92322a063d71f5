"""Which hosts a claim looks at, in which order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import capacity, refusals
from gpu_passthrough_plugin.allocation.capacity import Card
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.allocation.sql.capacity_counters import Cards
from gpu_passthrough_plugin.model.allocation import HostRecord, Weight
from gpu_passthrough_plugin.model.request import Request

# Rows of an index that are next to each other, read at once: more than
# one, for when others hold the first.
PAGE = 16
_LAST = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What to look for.

    :param host: the one host that it is to be; None for any.
    """

    request: Request
    host: str | None
    weight: Weight


def pages(
    connection: sa.Connection, look: Look, known: Cards
) -> Iterator[list[int]]:
    """The ids of hosts that may have what is asked for, page by page.

    No host stands in two of them.
    """
    if look.host is not None:
        yield _named(connection, look)
        return
    seen: set[int] = set()
    for span in _spans(look, known):
        for page in _along(connection, span):
            fresh = [host_id for host_id in page if host_id not in seen]
            seen.update(fresh)
            yield fresh


def idle(connection: sa.Connection, look: Look, known: Cards) -> Iterator[int]:
    """The same hosts, each held; those that others hold are left out.

    It ends where others hold a whole page of them, and has none where
    the host is named.
    """
    if look.host is not None:
        return
    seen: set[int] = set()
    for span in _spans(look, known):
        for host_id in _idle_along(connection, span):
            if host_id not in seen:
                seen.add(host_id)
                yield host_id


class _Span(NamedTuple):
    """A range of the index, read page by page.

    :param kind: which statements read it.
    :param bound: what is bound on every page.
    :param first: what else on the first.
    """

    kind: statements.Kind
    bound: dict[str, object]
    first: dict[str, int]


def _spans(look: Look, known: Cards) -> Iterator[_Span]:
    """Where to look, best first."""
    wanted = _wanted(look.request, tuple(known))
    if wanted is None:
        return
    aggregate = look.request.aggregate
    kind = statements.Kind(
        look.weight, len(wanted.others), aggregate is not None
    )
    bound: dict[str, object] = {"most": PAGE}
    for number, (cards, count) in enumerate(wanted.others):
        bound[f"cards_{number}"] = [known[card] for card in cards]
        bound[f"number_{number}"] = count
    if aggregate is not None:
        bound["aggregate"] = aggregate
    for need in wanted.needs:
        # Of so many of several cards, one card has its share.
        share = -(-need.number // len(wanted.cards))
        for card in wanted.cards:
            place = {"card_id": known[card], "place": need.place}
            yield _Span(kind, bound | place, _first(look.weight, share))


def _first(weight: Weight, need: int) -> dict[str, int]:
    if weight is Weight.PACK:
        return {"from_free": need, "after": -1}
    return {"need": need, "from_free": _LAST, "after": _LAST}


def _along(connection: sa.Connection, span: _Span) -> Iterator[list[int]]:
    """The pages of a range."""
    statement, bound = statements.page(span.kind), span.bound | span.first
    while True:
        rows = connection.execute(statement, bound).all()
        if rows:
            yield [row.host_id for row in rows]
        if len(rows) < PAGE:
            return
        bound |= _after(rows[-1])


def _idle_along(connection: sa.Connection, span: _Span) -> Iterator[int]:
    """The idle hosts of a range, up to a page without any."""
    statement, bound = statements.idle(span.kind), span.bound | span.first
    while row := connection.execute(statement, bound).first():
        yield row.host_id
        bound |= _after(row)


def _after(row: sa.Row[tuple[int, int]]) -> dict[str, int]:
    return {"from_free": row.free, "after": row.host_id}


@functools.lru_cache(256)
def _wanted(
    request: Request, known: tuple[Card, ...]
) -> capacity.Wanted | None:
    return capacity.wanted(request, known)


def _named(connection: sa.Connection, look: Look) -> list[int]:
    bound = {"host": look.host}
    statement = statements.NAMED
    if look.request.aggregate is not None:
        statement = statements.NAMED_IN_AGGREGATE
        bound["aggregate"] = look.request.aggregate
    return [row.host_id for row in connection.execute(statement, bound)]


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


def no_valid_host(
    connection: sa.Connection, wanted: Look
) -> errors.NoValidHost:
    """Return why nothing fits, with the numbers of a fleet of usual size."""
    units = None
    if wanted.host is not None:
        bound = {"host": wanted.host}
        units = rows.stored(connection.execute(statements.HOST_UNITS, bound))
    elif unit_count(connection) <= refusals.MAX_COUNTED_UNITS:
        units = rows.stored(connection.execute(statements.ALL_UNITS))
    return refusals.no_valid_host(
        wanted.request,
        wanted.host,
        records(connection, wanted.host),
        None if units is None else [s.record for s in units],
    )

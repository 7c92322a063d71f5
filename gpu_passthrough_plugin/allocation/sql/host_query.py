"""Which hosts the ledger has, and which of them a claim tries, in order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import capacity, refusals
from gpu_passthrough_plugin.allocation.capacity import (
    DeviceModel,
    HostFilter,
)
from gpu_passthrough_plugin.allocation.sql import rows, statements
from gpu_passthrough_plugin.allocation.sql.capacity_counters import ModelIds
from gpu_passthrough_plugin.allocation.sql.statements import PageQuery
from gpu_passthrough_plugin.model.allocation import HostRecord, Weight
from gpu_passthrough_plugin.model.request import Request

# Adjacent rows of an index, read at once; several, because other clients
# may have locked the first ones.
PAGE_ROWS = 16
_MAX_INT = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class HostQuery:
    """What a claim looks for.

    :param host: the only host that may be used; None for any.
    """

    request: Request
    host: str | None
    weight: Weight


def pages(
    connection: sa.Connection, query: HostQuery, model_ids: ModelIds
) -> Iterator[list[int]]:
    """Yield the ids of hosts that may satisfy the request, page by page.

    Each host is in one page at most.
    """
    if query.host is not None:
        yield _named_host(connection, query)
        return
    seen: set[int] = set()
    for span in _spans(query, model_ids):
        for page in _span_pages(connection, span):
            fresh = [host_id for host_id in page if host_id not in seen]
            seen.update(fresh)
            yield fresh


def lock_idle(
    connection: sa.Connection, query: HostQuery, model_ids: ModelIds
) -> Iterator[int]:
    """Lock the same hosts one by one, without those locked by others.

    It ends at a page that other clients have locked completely, and yields
    nothing for a named host.
    """
    if query.host is not None:
        return
    seen: set[int] = set()
    for span in _spans(query, model_ids):
        for host_id in _lock_span(connection, span):
            if host_id not in seen:
                seen.add(host_id)
                yield host_id


class _Span(NamedTuple):
    """A range of the index, read page by page.

    :param query: which statements read it.
    :param bound: what is bound for every page.
    :param first: what else is bound for the first page.
    """

    query: PageQuery
    bound: dict[str, object]
    first: dict[str, int]


def _spans(query: HostQuery, model_ids: ModelIds) -> Iterator[_Span]:
    """Yield the ranges to read, best first."""
    host_filter = _host_filter(query.request, tuple(model_ids))
    if host_filter is None:
        return
    aggregate = query.request.aggregate
    page_query = PageQuery(
        query.weight, len(host_filter.others), aggregate is not None
    )
    bound: dict[str, object] = {"most": PAGE_ROWS}
    for number, (models, count) in enumerate(host_filter.others):
        bound[f"models_{number}"] = [model_ids[model] for model in models]
        bound[f"number_{number}"] = count
    if aggregate is not None:
        bound["aggregate"] = aggregate
    for threshold in host_filter.thresholds:
        place = {
            "model_id": model_ids[threshold.model],
            "place": threshold.place,
        }
        first = _first_page(query.weight, threshold.number)
        yield _Span(page_query, bound | place, first)


@functools.lru_cache(256)
def _host_filter(
    request: Request, models: tuple[DeviceModel, ...]
) -> HostFilter | None:
    return capacity.host_filter(request, models)


def _first_page(weight: Weight, need: int) -> dict[str, int]:
    if weight is Weight.PACK:
        return {"from_free": need, "after": -1}
    return {"need": need, "from_free": _MAX_INT, "after": _MAX_INT}


def _next_page(row: sa.Row[tuple[int, int]]) -> dict[str, int]:
    return {"from_free": row.free, "after": row.host_id}


def _span_pages(connection: sa.Connection, span: _Span) -> Iterator[list[int]]:
    statement = statements.host_page(span.query)
    bound = span.bound | span.first
    while True:
        page = connection.execute(statement, bound).all()
        if page:
            yield [row.host_id for row in page]
        if len(page) < PAGE_ROWS:
            return
        bound |= _next_page(page[-1])


def _lock_span(connection: sa.Connection, span: _Span) -> Iterator[int]:
    """Lock a range's idle hosts, up to a page that has none."""
    statement = statements.lock_first_idle(span.query)
    bound = span.bound | span.first
    while row := connection.execute(statement, bound).first():
        yield row.host_id
        bound |= _next_page(row)


def _named_host(connection: sa.Connection, query: HostQuery) -> list[int]:
    bound = {"host": query.host}
    statement = statements.OFFERED_HOST
    if query.request.aggregate is not None:
        statement = statements.OFFERED_HOST_IN_AGGREGATE
        bound["aggregate"] = query.request.aggregate
    return [row.host_id for row in connection.execute(statement, bound)]


def read_hosts(
    connection: sa.Connection, name: str | None = None
) -> tuple[HostRecord, ...]:
    """Return every host, or the named one if it exists; by name."""
    statement, bound = statements.HOSTS, {}
    if name is not None:
        statement, bound = statements.ONE_HOST, {"host": name}
    aggregates: dict[str, set[str]] = {}
    hosts = {}
    for row in connection.execute(statement, bound):
        hosts[row.name] = row
        of_host = aggregates.setdefault(row.name, set())
        if row.aggregate is not None:
            of_host.add(str(row.aggregate))
    return tuple(
        _host_record(hosts[host], frozenset(aggregates[host]))
        for host in sorted(hosts, key=str)
    )


def _host_record(row: sa.Row[Any], aggregates: frozenset[str]) -> HostRecord:
    problem = rows.host_problem(row)
    return HostRecord(
        name=str(row.name),
        generation=0 if problem else row.generation,
        is_cordoned=bool(problem) or row.disabled_reason is not None,
        reason=problem or str(row.disabled_reason or ""),
        aggregates=aggregates,
        is_malformed=bool(problem),
        is_watched=row.is_watched is True,
    )


def no_valid_host(
    connection: sa.Connection, query: HostQuery
) -> errors.NoValidHost:
    """Return why no host fits, with numbers unless the fleet is very large."""
    units = None
    if query.host is not None:
        bound = {"host": query.host}
        units = connection.execute(statements.HOST_UNITS, bound)
    elif _unit_count(connection) <= refusals.MAX_COUNTED_UNITS:
        units = connection.execute(statements.ALL_UNITS)
    return refusals.no_valid_host(
        query.request,
        query.host,
        read_hosts(connection, query.host),
        None if units is None else [s.record for s in rows.read_units(units)],
    )


def _unit_count(connection: sa.Connection) -> int:
    return int(connection.execute(statements.UNIT_COUNT).scalar_one())

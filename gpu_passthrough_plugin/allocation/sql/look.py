"""Which hosts a claim looks at, in which order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import sqlalchemy as sa

from gpu_passthrough_plugin.allocation import supply
from gpu_passthrough_plugin.allocation.sql import statements
from gpu_passthrough_plugin.allocation.sql.cards import Cards
from gpu_passthrough_plugin.allocation.supply import Card
from gpu_passthrough_plugin.model.allocation import Weight
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
    wanted = _wanted(look.request, tuple(known))
    if wanted is None:
        return
    seen: set[int] = set()
    statement, bound = _statement(look, wanted, known)
    for need in wanted.needs:
        # Of so many of several cards, one card has its share.
        share = -(-need.number // len(wanted.cards))
        for card in wanted.cards:
            row = bound | {"card_id": known[card], "place": need.place}
            for page in _along(connection, look, statement, row, share):
                fresh = [host_id for host_id in page if host_id not in seen]
                seen.update(fresh)
                yield fresh


@functools.lru_cache(256)
def _wanted(request: Request, known: tuple[Card, ...]) -> supply.Wanted | None:
    return supply.wanted(request, known)


def _named(connection: sa.Connection, look: Look) -> list[int]:
    bound = {"host": look.host}
    statement = statements.NAMED
    if look.request.aggregate is not None:
        statement = statements.NAMED_IN_AGGREGATE
        bound["aggregate"] = look.request.aggregate
    return [row.host_id for row in connection.execute(statement, bound)]


def _statement(
    look: Look, wanted: supply.Wanted, known: Cards
) -> tuple[sa.Select[tuple[int]], dict[str, object]]:
    """The statement, and what is bound on every page."""
    bound: dict[str, object] = {"most": PAGE}
    for number, (cards, count) in enumerate(wanted.others):
        bound[f"cards_{number}"] = [known[card] for card in cards]
        bound[f"number_{number}"] = count
    aggregate = look.request.aggregate
    if aggregate is not None:
        bound["aggregate"] = aggregate
    statement = statements.page(
        look.weight,
        len(wanted.others),
        is_in_aggregate=aggregate is not None,
    )
    return statement, bound


def _along(
    connection: sa.Connection,
    look: Look,
    statement: sa.Select[tuple[int]],
    bound: dict[str, object],
    need: int,
) -> Iterator[list[int]]:
    """Pages of one range of the index."""
    if look.weight is Weight.PACK:
        place = {"from_free": need, "after": -1}
    else:
        place = {"need": need, "from_free": _LAST, "after": _LAST}
    while True:
        rows = connection.execute(statement, bound | place).all()
        if rows:
            yield [row.host_id for row in rows]
        if len(rows) < PAGE:
            return
        place |= {"from_free": rows[-1].free, "after": rows[-1].host_id}

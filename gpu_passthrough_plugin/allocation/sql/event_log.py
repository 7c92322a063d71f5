"""The audit record in the database: written with each change, and bounded.

An event is a row of the transaction that changes the unit: neither exists
without the other.  Old rows are removed by some of the writers, in a
transaction of its own after theirs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import events
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.model import event as model
from gpu_passthrough_plugin.model.event import (
    Event,
    EventListing,
    EventQuery,
    Transition,
)

_LOG = logging.getLogger(__name__)

# A prime, so that no pattern of clients misses each of its multiples.
_PRUNE_INTERVAL = 251
# More than are added between two of them, so that it catches up.
_PRUNED_ROWS = 2000

_event = schema.event
_ADD = _event.insert()
_named = _event.alias("named")
_has_name = _named.c.consumer_name != ""
# What another event of the same consumer calls it.
_OTHER_NAME = (
    sa.select(sa.func.max(_named.c.consumer_name))
    .where(_named.c.consumer == _event.c.consumer, _has_name)
    .scalar_subquery()
)
_OF_NAME = sa.select(_named.c.consumer).where(
    _named.c.consumer_name == sa.bindparam("consumer")
)
_CONDITIONS: dict[str, sa.ColumnElement[bool]] = {
    "host": _event.c.host == sa.bindparam("host"),
    "address": _event.c.address == sa.bindparam("address"),
    "consumer": sa.or_(
        _event.c.consumer == sa.bindparam("consumer"),
        _event.c.consumer.in_(_OF_NAME),
    ),
    "since_us": _event.c.time_us >= sa.bindparam("since_us"),
}
_OLDEST = sa.select(_event.c.id).order_by(_event.c.id).limit(_PRUNED_ROWS)
_NEWEST_TOO_MANY = (
    sa.select(_event.c.id)
    .order_by(_event.c.id.desc())
    .limit(1)
    .offset(sa.bindparam("number", type_=sa.Integer))
)
_REMOVE = _event.delete().where(
    _event.c.id <= sa.bindparam("last"),
    sa.or_(
        _event.c.time_us < sa.bindparam("oldest_us"),
        _event.c.id <= sa.bindparam("too_many"),
    ),
)


class EventWriter:
    """Adds the events of one ledger's changes to their transactions."""

    def __init__(self, ledger: LedgerDriver, settings: LedgerSettings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._is_prune_due = False

    def write(
        self, connection: sa.Connection, transitions: Iterable[Transition]
    ) -> None:
        """Add the events of transitions that this transaction makes."""
        stamped = events.stamped(transitions, self._ledger, self._settings)
        if len(stamped) == 1:
            added = connection.execute(_ADD, model.fields(stamped[0]))
            (row_id,) = added.inserted_primary_key or (0,)
            self._is_prune_due |= row_id % _PRUNE_INTERVAL == 0
        elif stamped:
            connection.execute(_ADD, [model.fields(e) for e in stamped])

    def prune_if_due(self, database: Database) -> None:
        """Remove old rows, once in many calls.

        What was committed before stays so: a failure is only logged.  A role
        of a database that may not remove rows leaves that to others.
        """
        if not self._is_prune_due:
            return
        self._is_prune_due = False
        try:
            database.write(self.prune)
        except errors.Error as error:
            _LOG.debug("old events were not removed: %s", error)

    def prune(self, connection: sa.Connection) -> None:
        """Remove the oldest events, a bounded number at a time."""
        retention = self._settings.retention
        oldest = connection.execute(_OLDEST).scalars().all()
        if not oldest:
            return
        too_many = None
        if retention.number:
            too_many = connection.execute(
                _NEWEST_TOO_MANY, {"number": retention.number}
            ).scalar()
        bound = {
            "last": oldest[-1],
            "oldest_us": retention.oldest_us(time.time_ns() // 1000),
            "too_many": -1 if too_many is None else too_many,
        }
        connection.execute(_REMOVE, bound)


def read(connection: sa.Connection, query: EventQuery) -> EventListing:
    """Return events, in the order in which they were added.

    For each unit that is the order in which they happened, whatever the
    hosts' clocks say.
    """
    bound = {
        name: value
        for name, value in query._asdict().items()
        if name in _CONDITIONS and value not in (None, 0)
    }
    statement = (
        sa.select(_event, _OTHER_NAME.label("other_name"))
        .where(*(_CONDITIONS[name] for name in bound))
        .order_by(_event.c.id.desc())
    )
    if query.limit:
        # One more, to know whether there are more.
        statement = statement.limit(query.limit + 1)
    rows = connection.execute(statement, bound).all()
    has_more = bool(query.limit) and len(rows) > query.limit
    if has_more:
        rows = rows[: query.limit]
    read_events = []
    malformed = []
    for row in reversed(rows):
        try:
            read_events.append(_event_of(row))
        except errors.Invalid as error:
            malformed.append(f"event {row.id!r}: {error}")
    return EventListing(tuple(read_events), tuple(malformed), has_more)


def _event_of(row: sa.Row[Any]) -> Event:
    """Return the event of a row.

    :raises Invalid: when it is malformed.
    """
    values = dict(row._mapping)
    values["consumer_name"] = values["consumer_name"] or row.other_name or ""
    return model.from_fields(values)

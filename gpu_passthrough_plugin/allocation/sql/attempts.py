"""Claiming until it is done, or known that it cannot be."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.sql import (
    cards,
    claim,
    hosts,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.cards import Cards
from gpu_passthrough_plugin.allocation.sql.database import Database
from gpu_passthrough_plugin.allocation.sql.look import Look
from gpu_passthrough_plugin.model.allocation import Allocation

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
            claim.held,
            request=wanted.request,
            consumer=consumer,
            host=wanted.host,
        )
        for _ in range(_MOST):
            try:
                found = self._claimed(wanted, consumer)
                is_known = False
            except claim.Known:
                found = None
                is_known = True
            found = found or self._database.read(read_held)
            if found is not None:
                return found
            if not is_known:
                raise self._database.read(lambda c: _no_valid_host(c, wanted))
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
            known = self._database.read(cards.read)
            if known != self._cards:
                self._cards = known
                found = self._once(wanted, consumer)
        return found

    def _once(self, wanted: Look, consumer: str) -> Found:
        known = self._cards
        try:
            return self._database.write(
                lambda c: claim.claim(c, wanted, known, consumer)
            )
        except claim.Busy as error:
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
        return lambda c: claim.claim_on(
            c, wanted, self._cards, consumer, host_id
        )


def _no_valid_host(
    connection: sa.Connection, wanted: Look
) -> errors.NoValidHost:
    """Return why nothing fits, with the numbers of a fleet of usual size."""
    units = None
    if wanted.host is not None:
        bound = {"host": wanted.host}
        units = rows.stored(connection.execute(statements.HOST_UNITS, bound))
    elif hosts.unit_count(connection) <= refusals.MAX_COUNTED_UNITS:
        units = rows.stored(connection.execute(statements.ALL_UNITS))
    return refusals.no_valid_host(
        wanted.request,
        wanted.host,
        hosts.records(connection, wanted.host),
        None if units is None else [s.record for s in units],
    )

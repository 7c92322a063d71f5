"""The floor under a claim: its own statements, without what chose them.

Two copies of one ledger are the same to the last id.  On one of them
claims are made and every statement is written down with its values; on
the other the same statements are said again, prebuilt as they are.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import sqlalchemy as sa

from benchmarks.own import Own
from gpu_passthrough_plugin.allocation.sql import backends
from tests.unit.allocation.build import request


@dataclasses.dataclass(slots=True)
class Transaction:
    """What was said from its begin to its commit."""

    is_writing: bool
    said: list[tuple[Any, Any]]


def consumers(count: int) -> list[str]:
    """For whom is claimed, the same each time."""
    return [str(uuid.UUID(int=number + 1)) for number in range(count)]


def record(own: Own, units: int, count: int) -> list[list[Transaction]]:
    """The transactions of each of so many claims."""
    engine = own.ledger.database.engine
    said: list[Transaction] = []

    def began(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        said.append(Transaction(bool(options.get(backends.WRITES)), []))

    def executed(
        _: sa.Connection, clause: Any, several: Any, values: Any, __: Any
    ) -> None:
        said[-1].said.append((clause, several or values))

    own.warm_up()
    sa.event.listen(engine, "begin", began)
    sa.event.listen(engine, "before_execute", executed)
    found = []
    for consumer in consumers(count):
        said = []
        own.ledger.claim(request(f"gpu:{units}"), consumer)
        found.append(said)
    sa.event.remove(engine, "begin", began)
    sa.event.remove(engine, "before_execute", executed)
    return found


class Floor:
    """Says what was written down, claim by claim."""

    def __init__(self, own: Own, claims: list[list[Transaction]]) -> None:
        engine = own.ledger.database.engine
        self._reading = engine
        self._writing = engine.execution_options(**{backends.WRITES: True})
        self._left = iter(claims)

    def claim(self) -> None:
        for transaction in next(self._left):
            engine = self._writing if transaction.is_writing else self._reading
            with engine.begin() as connection:
                for clause, values in transaction.said:
                    result = connection.execute(clause, values)
                    if result.returns_rows:
                        result.all()

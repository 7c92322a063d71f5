"""Taking a unit along one edge of its life."""

from __future__ import annotations

import dataclasses
import uuid

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.model.unit import (
    State,
    UnitKey,
    UnitRecord,
)

_NOBODYS = (State.FREE, State.QUARANTINED)


class Move:
    """One move, to be done in a transaction, perhaps in several tries.

    :param reason: why it is quarantined; in no other state kept.
    """

    def __init__(self, record: UnitRecord, state: State, reason: str) -> None:
        """Make one.

        :raises Refused: when no such edge exists.
        """
        validation.require_edge(record, state)
        self._record = record
        self._token = uuid.uuid4().hex
        self._is_unsure = False
        self.after = dataclasses.replace(
            record,
            state=state,
            consumer=None if state in _NOBODYS else record.consumer,
            generation=record.generation + 1,
            reason=reason if state is State.QUARANTINED else "",
        )

    def doubt(self) -> None:
        """From now on it may be done: the answer to COMMIT was lost."""
        self._is_unsure = True

    def once(self, connection: sa.Connection) -> None:
        """Do it.

        :raises Conflict: when the ledger's generation is another.
        :raises Refused: when the unit is gone.
        """
        before, after = self._record, self.after
        key = before.unit.key
        bound = {"host": key.host, "unit_address": str(key.address)}
        host = connection.execute(statements.LOCK_NAMED, bound).first()
        moved = connection.execute(
            statements.MOVE,
            bound
            | {
                "old": before.generation,
                "old_state": before.state.value,
                "new_state": after.state.value,
                "new_reason": after.reason,
                "new_token": self._token,
            },
        )
        if moved.rowcount != 1 or host is None:
            self._require_done(connection)
            return
        if after.state in _NOBODYS:
            _end_hold(connection, bound)
        is_counted = State.FREE in (before.state, after.state)
        if is_counted and host.disabled_reason is None:
            _count(connection, host.id, key)

    def _require_done(self, connection: sa.Connection) -> None:
        """Nothing, when an earlier try did it, and its answer was lost."""
        key, record = self._record.unit.key, self._record
        bound = {"host": key.host, "unit_address": str(key.address)}
        now = connection.execute(statements.MOVED, bound).first()
        if now is None:
            raise refusals.unit_unknown(key)
        if self._is_unsure and now.token == self._token:
            return
        if self._is_unsure and now.generation > self.after.generation:
            raise errors.Unavailable(
                f"whether unit {key} became {self.after.state} is not known:"
                " the connection was lost, and others changed it since; read"
                " it again"
            )
        (found,) = rows.stored(connection.execute(statements.ONE_UNIT, bound))
        raise refusals.unit_changed(
            record, found.record.state, found.record.generation
        )


def _end_hold(connection: sa.Connection, bound: dict[str, str]) -> None:
    holder = connection.execute(statements.HOLDER, bound).scalar()
    if holder is not None:
        connection.execute(statements.FREE, bound)
        connection.execute(statements.FORGET, {"consumer_id": holder})


def _count(connection: sa.Connection, host_id: int, key: UnitKey) -> None:
    found = rows.stored(
        connection.execute(statements.FREE_AND_TAKEN, {"host_id": host_id})
    )
    records = [s.record for s in found]
    capacity_counters.change(
        connection,
        host_id,
        capacity_counters.read(connection),
        [r.unit for r in records if capacity_counters.is_offered(r)],
        [r.unit for r in records if not capacity_counters.is_offered(r)],
        [r.unit for r in records if r.unit.key == key and not r.is_missing],
    )

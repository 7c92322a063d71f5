"""How a unit moves along one edge of its life."""

from __future__ import annotations

import dataclasses
import uuid

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import events, refusals, validation
from gpu_passthrough_plugin.allocation.sql import (
    capacity_counters,
    rows,
    statements,
)
from gpu_passthrough_plugin.allocation.sql.event_log import EventWriter
from gpu_passthrough_plugin.model.unit import State, UnitRecord


class Move:
    """One move: ``attempt`` runs in a transaction, perhaps several times.

    A move whose COMMIT was not answered may have been done; the token that
    it writes into the unit's row tells that at the next attempt.
    """

    def __init__(
        self,
        record: UnitRecord,
        state: State,
        reason: str,
        event_writer: EventWriter,
    ) -> None:
        """Prepare a move.

        :param reason: why; the unit's row has it only for a quarantine.
        :raises Refused: when there is no such edge.
        """
        validation.require_edge(record, state)
        self._record = record
        self._token = uuid.uuid4().hex
        self._is_outcome_unknown = False
        self.after = record.moved(state, record.generation + 1, reason)
        self._transition = events.moved(record, self.after, reason)
        self._event_writer = event_writer

    def outcome_unknown(self) -> None:
        """Note that an attempt may have succeeded: COMMIT got no answer."""
        self._is_outcome_unknown = True

    def attempt(self, connection: sa.Connection) -> None:
        """Move the unit, or do nothing if an earlier attempt moved it.

        :raises Conflict: when the unit has another generation.
        :raises Refused: when the unit does not exist.
        :raises Unavailable: when whether an earlier attempt succeeded can
            no longer be known.
        """
        before, after = self._record, self.after
        key = before.unit.key
        bound = {"host": key.host, "unit_address": str(key.address)}
        host = connection.execute(statements.LOCK_HOST, bound).first()
        moved = connection.execute(
            statements.MOVE_UNIT,
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
            self._require_done_before(connection)
            return
        self._event_writer.write(connection, (self._transition,))
        if not after.state.is_held:
            _end_allocation(connection, bound)
        is_counted = State.FREE in (before.state, after.state)
        if is_counted and host.disabled_reason is None:
            self._update_counters(connection, host.id)

    def _require_done_before(self, connection: sa.Connection) -> None:
        """Raise unless an earlier attempt moved the unit."""
        key, record = self._record.unit.key, self._record
        bound = {"host": key.host, "unit_address": str(key.address)}
        now = connection.execute(statements.MOVED_UNIT, bound).first()
        if now is None:
            raise refusals.unit_unknown(key)
        if self._is_outcome_unknown:
            if now.token == self._token:
                return
            if now.generation > self.after.generation:
                raise errors.Unavailable(
                    f"whether unit {key} became {self.after.state} is not"
                    " known: the connection was lost during COMMIT, and other"
                    " clients changed the unit since; read the unit again"
                )
        (stored,) = rows.read_units(
            connection.execute(statements.ONE_UNIT, bound)
        )
        raise refusals.unit_changed(
            record, stored.record.state, stored.record.generation
        )

    def _update_counters(
        self, connection: sa.Connection, host_id: int
    ) -> None:
        bound = {"host_id": host_id}
        units = rows.read_units(
            connection.execute(statements.UNITS_BY_HOST_ID, bound)
        )
        after = [stored.record for stored in units]
        key, state = self._record.unit.key, self._record.state
        before = [
            dataclasses.replace(r, state=state) if r.unit.key == key else r
            for r in after
        ]
        model_ids = capacity_counters.read_model_ids(connection)
        capacity_counters.update(connection, host_id, model_ids, before, after)


def _end_allocation(connection: sa.Connection, bound: dict[str, str]) -> None:
    """Remove a unit's allocation, and its consumer if nothing is left."""
    holder = connection.execute(statements.UNIT_CONSUMER_ID, bound).scalar()
    if holder is not None:
        connection.execute(statements.REMOVE_ALLOCATION, bound)
        connection.execute(
            statements.REMOVE_IDLE_CONSUMER, {"consumer_id": holder}
        )

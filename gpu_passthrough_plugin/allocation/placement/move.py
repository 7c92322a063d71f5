"""Taking a unit along one edge of its life.

One PUT of its inventory decides, with its provider's generation.  Why it
is quarantined is written before, and says nothing until then; the end of
its consumer's hold is written after, and by whoever meets it.
"""

from __future__ import annotations

import contextlib
import dataclasses

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
)
from gpu_passthrough_plugin.allocation.placement.providers import (
    UnitProvider,
    delete_traits,
    put_inventory,
    put_traits,
    read_unit,
)
from gpu_passthrough_plugin.allocation.placement.service import Retry, Service
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.unit import (
    State,
    UnitKey,
    UnitRecord,
)

_NOBODYS = (State.FREE, State.QUARANTINED)


class Move:
    """One move, to be done in one try or several.

    :param reason: why it is quarantined; in no other state kept.
    """

    def __init__(self, record: UnitRecord, state: State, reason: str) -> None:
        """Make one.

        :raises Refused: when no such edge exists.
        """
        validation.require_edge(record, state)
        self._record = record
        self._state = state
        self._reason = reason if state is State.QUARANTINED else ""
        self._tried: StateCounter | None = None
        self._done: StateCounter | None = None

    def once(self, service: Service) -> UnitRecord:
        """Do it; the new record.

        :raises Conflict: when the ledger's generation is another.
        :raises Refused: when the unit is gone, or another ledger's.
        :raises Retry: when its provider changed meanwhile.
        """
        found = _read(service, self._record.unit.key)
        if self._done is None:
            self._done = self._decided(service, found)
        if self._state in _NOBODYS:
            consumers.end_holds(service, found.uuid, self._done)
        if self._record.state is State.QUARANTINED:
            _forget_reason(service, found.uuid)
        is_over = self._state in _NOBODYS
        return dataclasses.replace(
            self._record,
            state=self._state,
            consumer=None if is_over else self._record.consumer,
            generation=self._done.generation(Usage()),
            reason=self._reason,
        )

    def _decided(self, service: Service, found: UnitProvider) -> StateCounter:
        """The lease after the move."""
        if (
            self._tried is not None
            and self._tried.total == found.counter.total
        ):
            # It was done, and the answer lost.
            return self._tried
        record = self._record
        now = (found.record_generation, found.state)
        if now != (record.generation, record.state):
            raise refusals.unit_changed(
                record, found.state, found.record_generation
            )
        if found.is_anothers(record):
            raise errors.Conflict(
                f"unit {record.unit.key} is no longer {record.consumer}'s;"
                " read it again"
            )
        if found.counter.is_taken_elsewhere(found.usage):
            raise errors.Refused(
                f"unit {record.unit.key} was allocated in Placement by"
                " somebody else, such as Nova; free it there"
            )
        if self._reason:
            found = _write_reason(service, found, self._reason)
        after = found.counter.moved(found.usage, self._state)
        self._tried = after
        try:
            put_inventory(
                service,
                found.uuid,
                found.generation,
                after.inventory(found.resource_class),
            )
        except Retry:
            self._tried = None
            raise
        return after


def _read(service: Service, key: UnitKey) -> UnitProvider:
    """The provider of a unit, as it is now.

    :raises Refused: when there is none.
    """
    listed = service.get(
        "/resource_providers",
        ("name", names.unit_provider(key)),
        ("required", names.UNIT_TRAIT),
    )["resource_providers"]
    provider = read_unit(service, listed[0]["uuid"]) if listed else None
    if provider is None:
        raise refusals.unit_unknown(key)
    return provider


def _write_reason(
    service: Service, found: UnitProvider, reason: str
) -> UnitProvider:
    has = service.get(f"/resource_providers/{found.uuid}/traits")
    kept = _without_reason(has["traits"])
    said = names.text_traits(names.REASON, [reason])
    # With the generation of what was decided on, not of these traits.
    generation = put_traits(service, found.uuid, found.generation, kept | said)
    return dataclasses.replace(found, generation=generation)


def _forget_reason(service: Service, uuid: str) -> None:
    """Take away why a unit was quarantined; it says nothing any more."""
    has = service.get_if_found(f"/resource_providers/{uuid}/traits")
    if has is None:
        return
    kept = _without_reason(has["traits"])
    gone = frozenset(has["traits"]) - kept
    if not gone:
        return
    with contextlib.suppress(Retry):
        put_traits(service, uuid, has["resource_provider_generation"], kept)
        delete_traits(service, gone)


def _without_reason(traits: list[str]) -> frozenset[str]:
    begin = f"{names.TRAIT_PREFIX}{names.REASON}_"
    return frozenset(t for t in traits if not t.startswith(begin))

"""Taking a unit along one edge of its life.

One PUT of its inventory decides, with its provider's generation.  Why it
is quarantined is written before, and says nothing until then; the end of
its consumer's hold is written after, and by whoever meets it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.providers import (
    delete_traits,
    put_inventory,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.service import Again, Service
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    Lease,
    Taken,
)
from gpu_passthrough_plugin.model.unit import (
    State,
    UnitKey,
    UnitRecord,
)

_NOBODYS = (State.FREE, State.QUARANTINED)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A unit's provider.

    :param generation: of the provider.
    :param resource_class: of the unit.
    :param holders: how much of the lease each of its takers has.
    """

    uuid: str
    generation: int
    resource_class: str
    lease: Lease
    holders: Mapping[str, int]

    @property
    def taken(self) -> Taken:
        return state_counter.taken(self.holders.values())

    def is_anothers(self, record: UnitRecord) -> bool:
        """Whether the one that a record names has not what is held."""
        amount = self.taken.amount
        if record.consumer is None or not self.lease.is_held_by(amount):
            return False
        return self.holders.get(record.consumer) != amount

    @property
    def state(self) -> State:
        return state_counter.state(self.lease, self.taken)

    @property
    def record_generation(self) -> int:
        return state_counter.generation(self.lease, self.taken)


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
        self._tried: Lease | None = None
        self._done: Lease | None = None

    def once(self, service: Service) -> UnitRecord:
        """Do it; the new record.

        :raises Conflict: when the ledger's generation is another.
        :raises Refused: when the unit is gone, or another ledger's.
        :raises Again: when its provider changed meanwhile.
        """
        found = _read(service, self._record.unit.key)
        if self._done is None:
            self._done = self._decided(service, found)
        if self._state in _NOBODYS:
            consumers.end(service, found.uuid, self._done)
        if self._record.state is State.QUARANTINED:
            _forget_reason(service, found.uuid)
        is_over = self._state in _NOBODYS
        return dataclasses.replace(
            self._record,
            state=self._state,
            consumer=None if is_over else self._record.consumer,
            generation=state_counter.generation(self._done, Taken()),
            reason=self._reason,
        )

    def _decided(self, service: Service, found: Found) -> Lease:
        """The lease after the move."""
        if self._tried is not None and self._tried.total == found.lease.total:
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
        if state_counter.is_foreign(found.lease, found.taken):
            raise errors.Refused(
                f"unit {record.unit.key} was allocated in Placement by"
                " somebody else, such as Nova; free it there"
            )
        if self._reason:
            found = _write_reason(service, found, self._reason)
        after = state_counter.moved(found.lease, found.taken, self._state)
        self._tried = after
        try:
            put_inventory(
                service,
                found.uuid,
                found.generation,
                state_counter.inventory(after, found.resource_class),
            )
        except Again:
            self._tried = None
            raise
        return after


def _read(service: Service, key: UnitKey) -> Found:
    """The provider of a unit, as it is now.

    :raises Refused: when there is none.
    """
    listed = service.get(
        "/resource_providers",
        ("name", names.unit_provider(key)),
        ("required", names.IS_UNIT),
    )["resource_providers"]
    if not listed:
        raise refusals.unit_unknown(key)
    uuid = listed[0]["uuid"]
    found = service.found(f"/resource_providers/{uuid}/inventories")
    if found is None or names.LEASE not in found["inventories"]:
        raise refusals.unit_unknown(key)
    inventories = found["inventories"]
    classes = [name for name in inventories if name != names.LEASE]
    own = inventories[names.LEASE]
    return Found(
        uuid=uuid,
        generation=found["resource_provider_generation"],
        resource_class=classes[0],
        lease=state_counter.of_total(own["total"], own["min_unit"]),
        holders=reading.holders(service, uuid),
    )


def _write_reason(service: Service, found: Found, reason: str) -> Found:
    has = service.get(f"/resource_providers/{found.uuid}/traits")
    kept = _without_reason(has["traits"])
    said = names.text_traits(names.REASON, [reason])
    # With the generation of what was decided on, not of these traits.
    generation = put_traits(service, found.uuid, found.generation, kept | said)
    return dataclasses.replace(found, generation=generation)


def _forget_reason(service: Service, uuid: str) -> None:
    """Take away why a unit was quarantined; it says nothing any more."""
    has = service.found(f"/resource_providers/{uuid}/traits")
    if has is None:
        return
    kept = _without_reason(has["traits"])
    gone = frozenset(has["traits"]) - kept
    if not gone:
        return
    with contextlib.suppress(Again):
        put_traits(service, uuid, has["resource_provider_generation"], kept)
        delete_traits(service, gone)


def _without_reason(traits: list[str]) -> frozenset[str]:
    begin = f"{names.FACT}{names.REASON}_"
    return frozenset(t for t in traits if not t.startswith(begin))

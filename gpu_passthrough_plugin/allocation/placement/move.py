"""Moving a unit along one edge of its life.

One PUT of its inventory decides, with the generation of its provider.  The
reason of a quarantine is written before, and means nothing until then; the
consumer's allocation is removed after, by this client or by any that finds
it.
"""

from __future__ import annotations

import contextlib
import dataclasses

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    state_counter,
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
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord


class Move:
    """One move, whose attempts know of one another.

    An attempt whose answer was lost may have been carried out: the next one
    recognises it by the state counter and the token that it was to write.

    :param reason: of a quarantine; ignored for any other state.
    """

    def __init__(self, record: UnitRecord, state: State, reason: str) -> None:
        """Make a move; send nothing yet.

        :raises Refused: when a unit's life has no such edge.
        """
        validation.require_edge(record, state)
        self._record = record
        self._state = state
        self._reason = reason if state is State.QUARANTINED else ""
        self._token = state_counter.new_token()
        self._attempted: StateCounter | None = None
        self._done: StateCounter | None = None

    def carry_out(self, service: Service) -> UnitRecord:
        """Carry it out in as many attempts as it takes; see ``attempt``."""
        return service.retry(lambda _: self.attempt(service))

    def attempt(self, service: Service) -> UnitRecord:
        """Carry it out once; return the new record.

        :raises Conflict: when the record is outdated.
        :raises Refused: when the unit is gone, or allocated by Nova.
        :raises Retry: when the provider changed meanwhile.
        """
        provider = _read(service, self._record.unit.key)
        if self._done is None:
            self._done = self._advance(service, provider)
        if not self._state.is_held:
            consumers.end_holds(service, provider.uuid, self._done)
        if self._record.state is State.QUARANTINED and not self._reason:
            _remove_reason(service, provider.uuid)
        generation = self._done.generation(Usage())
        return self._record.moved(self._state, generation, self._reason)

    def _advance(
        self, service: Service, provider: UnitProvider
    ) -> StateCounter:
        """Advance the state counter and return it."""
        attempted = self._attempted
        if (
            attempted is not None
            and attempted.total == provider.counter.total
            and self._token == provider.token
        ):
            return attempted
        self._require_unchanged(provider)
        if self._reason:
            provider = _put_reason(service, provider, self._reason)
        counter = provider.counter.moved(provider.usage, self._state)
        self._attempted = counter
        try:
            put_inventory(
                service,
                provider.uuid,
                provider.generation,
                counter.inventory(provider.resource_class, self._token),
            )
        except Retry:
            self._attempted = None
            raise
        return counter

    def _require_unchanged(self, provider: UnitProvider) -> None:
        """Raise if the unit is not what the record says."""
        record = self._record
        state, generation = provider.state, provider.record_generation
        if (state, generation) != (record.state, record.generation):
            raise refusals.unit_changed(record, state, generation)
        if provider.has_other_holder(record):
            raise errors.Conflict(
                f"unit {record.unit.key} is no longer held by consumer"
                f" {record.consumer}; read the unit again"
            )
        if provider.counter.is_foreign(provider.usage):
            raise errors.Refused(
                f"unit {record.unit.key} was allocated in Placement by another"
                " service, such as Nova; free it there"
            )


def _read(service: Service, key: UnitKey) -> UnitProvider:
    """Return the provider of a unit as it is now.

    :raises Refused: when the ledger has no such unit.
    """
    for listed in service.providers(
        ("name", names.unit_provider(key)), ("required", names.UNIT_TRAIT)
    ):
        provider = read_unit(service, listed["uuid"])
        if provider is not None:
            return provider
    raise refusals.unit_unknown(key)


def _put_reason(
    service: Service, provider: UnitProvider, reason: str
) -> UnitProvider:
    """Write why a unit is about to be quarantined."""
    path = f"/resource_providers/{provider.uuid}/traits"
    before = frozenset(service.get(path)["traits"])
    traits = names.without_texts(
        before, names.QUARANTINE_REASON
    ) | names.text_traits(names.QUARANTINE_REASON, [reason])
    # With the generation on which the move was decided, not of these traits.
    generation = put_traits(
        service, provider.uuid, provider.generation, traits
    )
    delete_traits(service, before - traits)
    return dataclasses.replace(provider, generation=generation)


def _remove_reason(service: Service, uuid: str) -> None:
    """Remove why a unit was quarantined, if no other client changes it."""
    body = service.get_if_found(f"/resource_providers/{uuid}/traits")
    if body is None:
        return
    traits = names.without_texts(body["traits"], names.QUARANTINE_REASON)
    removed = frozenset(body["traits"]) - traits
    if not removed:
        return
    with contextlib.suppress(Retry):
        generation = body["resource_provider_generation"]
        put_traits(service, uuid, generation, traits)
        delete_traits(service, removed)

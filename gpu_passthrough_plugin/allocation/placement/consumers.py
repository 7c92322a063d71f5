"""What consumers have; taking what is left of holds that ended.

Placement refuses allocations that a lease does not take any more, even
when they are only left as they were: all that hold nothing go together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.reading import StoredUnit
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    Service,
    conflict_code,
    error_detail,
    retry_changed,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
)
from gpu_passthrough_plugin.model.unit import UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that Placement has allocations of.

    :param generation: of the consumer.
    :param project: ``project_id``.
    :param asked: ``user_id``: what a consumer of ours asked for.
    :param type: None below microversion 1.38.
    :param allocations: amounts by provider and resource class.
    """

    uuid: str
    generation: int
    project: str
    asked: str
    type: str | None
    allocations: dict[str, dict[str, int]]

    @property
    def is_ours(self) -> bool:
        return self.project == names.PROJECT

    @property
    def has_only_reservations(self) -> bool:
        """Whether bids are all that it has."""
        return all(
            state_counter.is_reservation(self.amount(u))
            for u in self.allocations
        )

    def amount(self, uuid: str) -> int:
        """How much of a unit's lease it has; 0 for nothing."""
        return self.allocations.get(uuid, {}).get(names.STATE_COUNTER, 0)

    def body(
        self, allocations: Mapping[str, Mapping[str, int]]
    ) -> dict[str, object]:
        """What makes these its allocations, and leaves it as it is."""
        return {
            "allocations": {
                uuid: {"resources": resources}
                for uuid, resources in allocations.items()
            },
            "project_id": self.project,
            "user_id": self.asked,
            "consumer_generation": self.generation,
            **({} if self.type is None else {"consumer_type": self.type}),
        }


def read_consumer(service: Service, uuid: str) -> Consumer | None:
    """What a consumer has; None when that is nothing."""
    found = service.get(f"/allocations/{uuid}")
    if not found["allocations"]:
        return None
    return Consumer(
        uuid=uuid,
        generation=found["consumer_generation"],
        project=found["project_id"],
        asked=found["user_id"],
        type=found.get("consumer_type"),
        allocations={
            provider: dict(entry["resources"])
            for provider, entry in found["allocations"].items()
        },
    )


def held_units(service: Service, found: Consumer) -> tuple[UnitRecord, ...]:
    """The units that a consumer holds, by address.

    Not those that are left in its allocations after its hold ended.
    """
    host = _host(service, found)
    if host is None:
        return ()
    return tuple(
        unit.held_by(found.uuid)
        for unit in reading.read_fleet(service, host).units
        if found.amount(unit.uuid) == unit.usage.amount
        and unit.counter.is_held_by(unit.usage.amount)
    )


def reserved_units(
    service: Service, found: Consumer
) -> tuple[StoredUnit, ...]:
    """The units that a consumer bids for, by address."""
    host = _host(service, found)
    if host is None:
        return ()
    return tuple(
        unit
        for unit in reading.read_fleet(service, host).units
        if unit.is_free and found.amount(unit.uuid) == unit.counter.reservation
    )


def _host(service: Service, found: Consumer) -> str | None:
    """The host that has a consumer's units: they are all of one."""
    for uuid in found.allocations:
        provider = service.get_if_found(f"/resource_providers/{uuid}")
        key = names.unit_key_in(provider["name"]) if provider else None
        if key is not None:
            return key.host
    return None


def remove_leftovers(service: Service, units: Iterable[StoredUnit]) -> None:
    """End what holds of these units ended, and somebody died at.

    :raises Retry: when others changed the same allocations meanwhile.
    """
    for unit in units:
        if unit.has_leftovers:
            end_holds(service, unit.uuid, unit.counter)


def end_holds(service: Service, uuid: str, found: StateCounter) -> None:
    """Take a unit out of the allocations of holds that ended.

    :param found: its lease, or one that it had.
    :raises Retry: when others changed the same allocations meanwhile.
    """
    for name in reading.counter_amounts(service, uuid):
        taker = read_consumer(service, name)
        if taker is None:
            continue
        if not found.is_leftover(taker.amount(uuid)):
            continue
        _keep_holds(service, taker)


def withdraw(service: Service, uuid: str) -> None:
    """Take away what of a unit's allocations is no hold.

    Whoever bid learns it when he makes it one.

    :raises Retry: when others changed the same allocations meanwhile.
    """
    for name in reading.counter_amounts(service, uuid):
        taker = read_consumer(service, name)
        amount = taker.amount(uuid) if taker is not None else 0
        found = reading.read_counter(service, uuid)
        is_held = found is not None and found.is_held_by(amount)
        if taker is not None and amount and not is_held:
            _keep_holds(service, taker)


def remove_allocations(service: Service, consumer: Consumer) -> None:
    """Take everything out of a consumer's allocations.

    :raises Retry: when others changed them meanwhile.
    """
    _put(service, consumer, {})


def _keep_holds(service: Service, consumer: Consumer) -> None:
    """Take out of a consumer's allocations what holds nothing."""
    kept = {}
    for uuid, resources in consumer.allocations.items():
        found = reading.read_counter(service, uuid)
        if found is not None and found.is_held_by(consumer.amount(uuid)):
            kept[uuid] = resources
    _put(service, consumer, kept)


def _put(
    service: Service,
    consumer: Consumer,
    kept: Mapping[str, Mapping[str, int]],
) -> None:
    reply = service.put(f"/allocations/{consumer.uuid}", consumer.body(kept))
    if reply.status == 204:
        return
    if not kept and conflict_code(reply) is ConflictCode.CAPACITY:
        # Placement checks even what is to go, and its inventory is gone.
        service.delete(f"/allocations/{consumer.uuid}")
    else:
        raise retry_changed(
            f"what consumer {consumer.uuid} has in Placement",
            error_detail(reply),
        )

"""What consumers have; taking what is left of holds that ended.

Placement refuses allocations that a lease does not take any more, even
when they are only left as they were: all that hold nothing go together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.providers import read_counter
from gpu_passthrough_plugin.allocation.placement.reading import (
    Fleet,
    StoredUnit,
)
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
from gpu_passthrough_plugin.model.allocation import Allocation
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

    def held(self, fleet: Fleet) -> tuple[UnitRecord, ...]:
        """The units that it holds, by address.

        Not those that are left in its allocations after its hold ended.
        """
        return tuple(
            unit.held_by(self.uuid)
            for unit in fleet.units
            if self.amount(unit.uuid) == unit.usage.amount
            and unit.counter.is_held_by(unit.usage.amount)
        )

    def reserved(self, fleet: Fleet) -> tuple[StoredUnit, ...]:
        """The units that it bids for, by address."""
        return tuple(
            unit
            for unit in fleet.units
            if unit.is_free
            and self.amount(unit.uuid) == unit.counter.reservation
        )

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


def read_fleet(service: Service, consumer: Consumer) -> Fleet:
    """The host that has a consumer's units, and its units.

    They are all of one; empty where none of them is there any more.
    """
    for uuid in consumer.allocations:
        provider = service.get_if_found(f"/resource_providers/{uuid}")
        key = names.unit_key_in(provider["name"]) if provider else None
        if key is not None:
            return reading.read_fleet(service, key.host)
    return Fleet()


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
        found = read_counter(service, uuid)
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
        found = read_counter(service, uuid)
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


def read_allocation(service: Service, uuid: str) -> Allocation:
    """What one consumer holds.

    :raises Refused: when that is nothing.
    """
    consumer = read_consumer(service, uuid)
    units: tuple[UnitRecord, ...] = ()
    if consumer is not None and consumer.is_ours:
        units = consumer.held(read_fleet(service, consumer))
    if consumer is None or not units:
        raise refusals.consumer_holds_nothing(uuid)
    return _allocation(consumer, units)


def read_allocations(
    service: Service, records: Iterable[UnitRecord]
) -> tuple[Allocation, ...]:
    """What the consumers of these units hold, by consumer."""
    held: dict[str, list[UnitRecord]] = {}
    for record in records:
        if record.consumer is not None:
            held.setdefault(record.consumer, []).append(record)
    allocations = []
    for uuid, units in sorted(held.items()):
        consumer = read_consumer(service, uuid)
        if consumer is not None:
            allocations.append(_allocation(consumer, tuple(units)))
    return tuple(allocations)


def _allocation(
    consumer: Consumer, units: tuple[UnitRecord, ...]
) -> Allocation:
    request = names.request_in(consumer.asked) if consumer.is_ours else ""
    return Allocation(consumer.uuid, units[0].unit.key.host, request, units)

"""Consumers: what they hold, and removing what holds nothing any more.

A hold ends in the state counter of its unit; the allocation is removed
afterwards, by any client that finds it.  Placement refuses to write
allocations that a state counter does not accept any more, even unchanged
ones: hence all that hold nothing are removed from a consumer at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping

from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.placement import (
    answers,
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Fleet,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.providers import read_counter
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    MalformedAnswer,
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

Allocations = Mapping[str, Mapping[str, int]]
"""Amounts by the UUID of a provider and by resource class."""


@dataclasses.dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that has allocations in Placement.

    :param generation: of the consumer.
    :param user_id: of this ledger's consumers, ``names.user_id`` of the
        request.
    :param type: None below microversion 1.38.
    :param age_s: how long ago its allocations were written, by Placement's
        clock; None where Placement does not tell.
    """

    uuid: str
    generation: int
    project_id: str
    user_id: str
    type: str | None
    allocations: Allocations
    age_s: float | None = None

    @property
    def is_of_ledger(self) -> bool:
        """Whether this driver made it, and not Nova or another service."""
        return self.project_id == names.PROJECT

    @property
    def is_orphan(self) -> bool:
        """Whether Placement lost it, and made it again without a project."""
        return self.project_id == names.INCOMPLETE_PROJECT and all(
            self.amount(uuid) for uuid in self.allocations
        )

    @property
    def has_only_reservations(self) -> bool:
        return all(
            state_counter.is_reservation(self.amount(uuid))
            for uuid in self.allocations
        )

    def amount(self, uuid: str) -> int:
        """Return how much of a unit's state counter it has; 0 for none.

        :param uuid: of the unit's provider.
        """
        return self.allocations.get(uuid, {}).get(names.STATE_COUNTER, 0)

    def held(self, fleet: Fleet) -> tuple[UnitRecord, ...]:
        """Return the units of a fleet that it holds, by address.

        Those are left out whose hold ended, although their allocation is
        still there.
        """
        return tuple(
            unit.held_by(self.uuid)
            for unit in fleet.units
            if self.amount(unit.uuid) == unit.usage.amount
            and unit.counter.is_held_by(unit.usage.amount)
        )

    def is_unused(self, fleet: Fleet) -> bool:
        """Whether it only claimed its units: none was prepared yet."""
        return all(
            unit.counter.is_idle
            for unit in fleet.units
            if unit.counter.is_held_by(self.amount(unit.uuid))
        )

    def reserved(self, fleet: Fleet) -> tuple[StoredUnit, ...]:
        """Return the free units of a fleet that it reserved, by address."""
        return tuple(
            unit
            for unit in fleet.units
            if unit.record.is_claimable
            and self.amount(unit.uuid) == unit.counter.reservation
        )

    def request_body(self, allocations: Allocations) -> dict[str, object]:
        """Return the PUT that makes these all its allocations."""
        return {
            "allocations": {
                uuid: {"resources": resources}
                for uuid, resources in allocations.items()
            },
            "project_id": self.project_id,
            "user_id": self.user_id,
            "consumer_generation": self.generation,
            **({} if self.type is None else {"consumer_type": self.type}),
        }


def _path(uuid: str) -> str:
    return f"/allocations/{uuid}"


def read_consumer(service: Service, uuid: str) -> Consumer | None:
    """Return a consumer; None when it has no allocations."""
    reply = service.get_reply(_path(uuid))
    body = reply.body
    if not body["allocations"]:
        return None
    with service.readable():
        answers.require_consumer(body, f"consumer {uuid}")
    return Consumer(
        uuid=uuid,
        generation=body["consumer_generation"],
        project_id=body["project_id"],
        user_id=body["user_id"],
        type=body.get("consumer_type"),
        allocations={
            provider: dict(entry["resources"])
            for provider, entry in body["allocations"].items()
        },
        age_s=reply.age_s,
    )


def read_fleet(service: Service, consumer: Consumer) -> Fleet:
    """Return the host that has a consumer's units, with all its units.

    Empty when none of the consumer's units exists any more.
    """
    for uuid in consumer.allocations:
        provider = service.get_if_found(f"/resource_providers/{uuid}")
        key = names.unit_key_in(provider["name"]) if provider else None
        if key is not None:
            return reading.read_fleet(service, key.host)
    return Fleet()


def read_allocation(service: Service, uuid: str) -> Allocation:
    """Return what one consumer holds.

    :raises Refused: when it holds nothing.
    """
    consumer = read_consumer(service, uuid)
    if consumer is not None and consumer.is_of_ledger:
        units = consumer.held(read_fleet(service, consumer))
        if units:
            return _allocation(consumer, units)
    raise refusals.consumer_holds_nothing(uuid)


def read_allocations(
    service: Service, records: Iterable[UnitRecord]
) -> tuple[Allocation, ...]:
    """Return what the consumers of these units hold, by consumer.

    :param records: of all units, or of all units of some hosts.
    """
    units: dict[str, list[UnitRecord]] = {}
    for record in records:
        if record.consumer is not None:
            units.setdefault(record.consumer, []).append(record)
    allocations = []
    for uuid in sorted(units):
        # One whose answer is malformed keeps no other from being read.
        with contextlib.suppress(MalformedAnswer):
            consumer = read_consumer(service, uuid)
            if consumer is not None:
                allocations.append(_allocation(consumer, tuple(units[uuid])))
    return tuple(allocations)


def _allocation(
    consumer: Consumer, units: tuple[UnitRecord, ...]
) -> Allocation:
    request = ""
    if consumer.is_of_ledger:
        request = names.request_in(consumer.user_id)
    return Allocation(consumer.uuid, units[0].unit.key.host, request, units)


def remove_orphans(service: Service, units: Iterable[StoredUnit]) -> bool:
    """Remove allocations of these units whose consumers Placement lost.

    'placement-manage db online_data_migrations' gives them a consumer of the
    "incomplete" project.  No client has them: one that claims reads its
    consumer again before it returns, and only then changes the counter.

    :return: whether there were any.
    """
    was_removed = False
    for unit in units:
        if unit.record.state.is_held and unit.counter.is_idle:
            for holder in reading.read_amounts(service, unit.uuid):
                consumer = read_consumer(service, holder)
                if consumer is not None and consumer.is_orphan:
                    service.delete(_path(holder))
                    was_removed = True
    return was_removed


def remove_leftovers(service: Service, units: Iterable[StoredUnit]) -> None:
    """Remove allocations that are left of ended holds of these units.

    :raises Retry: when another client changed the same allocations.
    """
    for unit in units:
        if unit.has_leftovers:
            end_holds(service, unit.uuid, unit.counter)


def end_holds(service: Service, uuid: str, counter: StateCounter) -> None:
    """Remove a unit from the allocations of consumers whose hold ended.

    :param uuid: of the unit's provider.
    :param counter: of the unit, now or earlier.
    :raises Retry: when another client changed the same allocations.
    """
    for holder in reading.read_amounts(service, uuid):
        consumer = read_consumer(service, holder)
        if consumer and counter.is_leftover(consumer.amount(uuid)):
            _keep_holds(service, consumer)


def withdraw_reservations(
    service: Service,
    uuid: str,
    is_withdrawn: Callable[[float | None], bool] = lambda _: True,
) -> None:
    """Remove from a unit's allocations those that do not hold it.

    Their clients notice it when they turn the reservation into a hold.

    :param uuid: of the unit's provider.
    :param is_withdrawn: whether a reservation of so many seconds is removed;
        None where Placement does not tell its age.
    :raises Retry: when another client changed the same allocations.
    """
    for holder in reading.read_amounts(service, uuid):
        consumer = read_consumer(service, holder)
        amount = consumer.amount(uuid) if consumer else 0
        if not (consumer and amount and is_withdrawn(consumer.age_s)):
            continue
        counter = read_counter(service, uuid)
        if counter is None or not counter.is_held_by(amount):
            _keep_holds(service, consumer)


def remove_allocations(service: Service, consumer: Consumer) -> None:
    """Remove all allocations of a consumer.

    :raises Retry: when another client changed them.
    """
    _put(service, consumer, {})


def _keep_holds(service: Service, consumer: Consumer) -> None:
    """Remove those of a consumer's allocations that hold nothing."""
    holds = {}
    for uuid, resources in consumer.allocations.items():
        counter = read_counter(service, uuid)
        if counter and counter.is_held_by(consumer.amount(uuid)):
            holds[uuid] = resources
    _put(service, consumer, holds)


def _put(
    service: Service, consumer: Consumer, allocations: Allocations
) -> None:
    path = _path(consumer.uuid)
    reply = service.put(path, consumer.request_body(allocations))
    if reply.status == 204:
        return
    if not allocations and conflict_code(reply) is ConflictCode.CAPACITY:
        # Placement checks even what is to be removed, against an inventory
        # that is gone.
        service.delete(path)
        return
    raise retry_changed(
        f"the allocations of consumer {consumer.uuid}", error_detail(reply)
    )

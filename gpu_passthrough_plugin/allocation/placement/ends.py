"""Taking what is left of a hold that ended out of its allocations.

Placement refuses allocations that a lease does not take any more, even
when they are only left as they were: all that hold nothing go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.allocation.placement import (
    lease,
    reading,
)
from gpu_passthrough_plugin.allocation.placement.failure import (
    Clash,
    clash,
    detail,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Stored
from gpu_passthrough_plugin.allocation.placement.lease import Lease
from gpu_passthrough_plugin.allocation.placement.providers import changed
from gpu_passthrough_plugin.allocation.placement.reading import Consumer
from gpu_passthrough_plugin.allocation.placement.service import Service


def finish(service: Service, units: Iterable[Stored]) -> None:
    """End what holds of these units ended, and somebody died at.

    :raises Again: when others changed the same allocations meanwhile.
    """
    for unit in units:
        if unit.is_ended:
            end(service, unit.uuid, unit.lease)


def end(service: Service, uuid: str, found: Lease) -> None:
    """Take a unit out of the allocations of holds that ended.

    :param found: its lease, or one that it had.
    :raises Again: when others changed the same allocations meanwhile.
    """
    for name in reading.holders(service, uuid):
        consumer = reading.consumer(service, name)
        if consumer is None:
            continue
        if not lease.is_ended(found, consumer.amount(uuid)):
            continue
        _keep_holds(service, consumer)


def turn_down(service: Service, uuid: str) -> None:
    """Take away what of a unit's allocations is no hold.

    Whoever bid learns it when he makes it one.

    :raises Again: when others changed the same allocations meanwhile.
    """
    for name in reading.holders(service, uuid):
        consumer = reading.consumer(service, name)
        amount = consumer.amount(uuid) if consumer is not None else 0
        found = reading.lease_of(service, uuid)
        is_held = found is not None and found.is_held_by(amount)
        if consumer is not None and amount and not is_held:
            _keep_holds(service, consumer)


def clear(service: Service, consumer: Consumer) -> None:
    """Take everything out of a consumer's allocations.

    :raises Again: when others changed them meanwhile.
    """
    _put(service, consumer, {})


def _keep_holds(service: Service, consumer: Consumer) -> None:
    """Take out of a consumer's allocations what holds nothing."""
    kept = {}
    for uuid, resources in consumer.allocations.items():
        found = reading.lease_of(service, uuid)
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
    if not kept and clash(reply) is Clash.CAPACITY:
        # Placement checks even what is to go, and its inventory is gone.
        service.delete(f"/allocations/{consumer.uuid}")
    else:
        raise changed(
            f"what consumer {consumer.uuid} has in Placement", detail(reply)
        )

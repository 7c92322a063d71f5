"""Taking what is left of a hold that ended out of its allocations.

Placement refuses allocations that a lease does not take any more, even
when they are only left as they were: all that ended go together.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    lease,
    names,
    reading,
)
from gpu_passthrough_plugin.allocation.placement.failure import Again
from gpu_passthrough_plugin.allocation.placement.fleet import Stored
from gpu_passthrough_plugin.allocation.placement.lease import Lease
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
    for name in reading.allocations_of(service, uuid):
        consumer = reading.consumer(service, name)
        if consumer is None or not _is_ended(consumer, uuid, found):
            continue
        others = {
            other
            for other in consumer.allocations
            if other != uuid and _has_ended(service, consumer, other)
        }
        _take_out(service, consumer, frozenset({uuid, *others}))


def clear(service: Service, consumer: Consumer) -> None:
    """Take everything out of a consumer's allocations.

    :raises Again: when others changed them meanwhile.
    """
    _take_out(service, consumer, frozenset(consumer.allocations))


def _has_ended(service: Service, consumer: Consumer, uuid: str) -> bool:
    found = reading.lease_of(service, uuid)
    return found is not None and _is_ended(consumer, uuid, found)


def _is_ended(consumer: Consumer, uuid: str, found: Lease) -> bool:
    amount = consumer.allocations.get(uuid, {}).get(names.LEASE, 0)
    return lease.is_ended(found, amount)


def _take_out(
    service: Service, consumer: Consumer, uuids: frozenset[str]
) -> None:
    reply = service.put(
        f"/allocations/{consumer.uuid}", consumer.body(without=uuids)
    )
    if reply.status != 204:
        raise Again(
            errors.Conflict(
                f"the allocations of consumer {consumer.uuid} were changed by"
                " others at each attempt; try again"
            )
        )

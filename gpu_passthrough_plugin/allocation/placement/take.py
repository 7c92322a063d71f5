"""Claiming very units, for a guest that others chose them for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gpu_passthrough_plugin.allocation import rules
from gpu_passthrough_plugin.allocation.placement import (
    bids,
    reading,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Stored
from gpu_passthrough_plugin.allocation.placement.reading import Consumer
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.unit import State, UnitKey


def take(
    service: Service,
    keys: Collection[UnitKey],
    consumer: str,
    request: str,
    attempt: int,
) -> Allocation:
    """What the consumer holds then.

    :param attempt: how often this was tried before.
    :raises Refused: when the host is disabled, a unit is gone, or the
        consumer holds others.
    :raises Conflict: when another one holds a unit.
    :raises Again: when others changed one meanwhile.
    :raises Unavailable: when Placement does not understand the claim.
    """
    held = _held(service, consumer, keys)
    if held is not None:
        rules.require_same(held, keys)
        return held
    units = _offered(service, keys)
    return Allocation(
        consumer=consumer,
        host=units[0].record.unit.key.host,
        request=request,
        units=bids.claimed(service, consumer, units, request, attempt),
    )


def _held(
    service: Service, consumer: str, keys: Collection[UnitKey]
) -> Allocation | None:
    def is_wanted(_: Consumer, units: Sequence[Stored]) -> bool:
        of = {unit.record.unit.key for unit in units}
        name = units[0].record.unit.key.host
        return of == set(keys) and reading.is_offered(service, name)

    held = bids.holding(service, consumer, is_wanted)
    if held is None:
        return None
    found, units = held
    return Allocation(consumer, units[0].unit.key.host, found.asked, units)


def _offered(service: Service, keys: Collection[UnitKey]) -> list[Stored]:
    name = next(iter(keys)).host
    fleet = reading.read(service, name)
    for host in fleet.hosts:
        if host.record.is_disabled:
            rules.require_enabled(name, host.record.reason)
    units = [s for s in fleet.units if s.record.unit.key in keys]
    for key in sorted(set(keys) - {s.record.unit.key for s in units}):
        raise rules.gone(key)
    for unit in units:
        if unit.record.state is not State.FREE or unit.record.is_missing:
            raise rules.faster(unit.record)
    return units

"""Claiming: read what is free, choose, bid for it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    bids,
    order,
    reading,
    terms,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Stored
from gpu_passthrough_plugin.allocation.placement.reading import Consumer
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    Weight,
)
from gpu_passthrough_plugin.model.request import Request

# Of so many of the best, one is taken by chance once others were faster.
_FEW = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What is to be claimed, for whom, and where.

    :param host: the one host that it is to be; None for any.
    """

    request: Request
    consumer: str
    host: str | None
    weight: Weight


def claim(service: Service, look: Look, attempt: int) -> Allocation:
    """What the consumer holds then.

    :param attempt: how often this was tried before.
    :raises NoValidHost: when nothing fits.
    :raises Refused: when the consumer holds something else.
    :raises Again: when others were faster.
    """
    asked = terms.written(look.request)
    held = _held(service, look, asked)
    if held is not None:
        return held
    request = look.request
    found = reading.read(
        service, look.host, is_offered=True, aggregate=request.aggregate
    )
    best = order.candidates(found, request, look.weight, _FEW)
    if not best:
        raise _none_left(service, found, look, attempt)
    units = _units(found, best[0] if attempt == 0 else _any_of(best))
    return Allocation(
        consumer=look.consumer,
        host=units[0].record.unit.key.host,
        request=str(request),
        units=bids.claimed(service, look.consumer, units, asked, attempt),
    )


def _none_left(
    service: Service, found: Fleet, look: Look, attempt: int
) -> Exception:
    """What to raise when nothing that is offered fits.

    What others bid for may become theirs, or free again.
    """
    free = found.without_bids()
    best = order.candidates(free, look.request, look.weight, 1)
    if not best:
        return _no_valid_host(look)
    if attempt >= bids.PATIENT_ATTEMPTS:
        bids.turn_down(service, _units(found, best[0]))
    return bids.faster(str(look.request))


def _held(service: Service, look: Look, asked: str) -> Allocation | None:
    """What the consumer holds already; None if nothing.

    :raises Refused: when that is not what it asks for now.
    """

    def is_wanted(bidder: Consumer, units: Sequence[Stored]) -> bool:
        name = units[0].record.unit.key.host
        return (
            bidder.asked == asked
            and look.host in (None, name)
            and reading.is_offered(service, name, look.request.aggregate)
        )

    held = bids.holding(service, look.consumer, is_wanted)
    if held is None:
        return None
    found, units = held
    host = units[0].unit.key.host
    is_same = (
        terms.are_same(found.asked, look.request)
        and look.host in (None, host)
        and _is_in(service, host, look.request.aggregate)
    )
    if not is_same:
        raise errors.Refused(
            f"consumer {look.consumer} holds {terms.request_in(found.asked)}"
            f" on host {host}; release that before it claims anything else"
        )
    return Allocation(
        look.consumer, host, terms.request_in(found.asked), units
    )


def _is_in(service: Service, host: str, aggregate: str | None) -> bool:
    if aggregate is None:
        return True
    return bool(reading.read(service, host, aggregate=aggregate).hosts)


def _no_valid_host(look: Look) -> errors.NoValidHost:
    where, has = "no host", " has"
    if look.host is not None:
        where, has = f"host {look.host} does not have", ""
    return errors.NoValidHost(
        f"{where}{has} the free units that {look.request} asks for; see"
        " 'gpu-passthrough inventory list'"
    )


def _any_of(best: Sequence[Candidate]) -> Candidate:
    return random.choice(best)  # noqa: S311 - no secret


def _units(found: Fleet, best: Candidate) -> list[Stored]:
    wanted = {free.unit.key for free in best.units}
    return [s for s in found.units if s.record.unit.key in wanted]

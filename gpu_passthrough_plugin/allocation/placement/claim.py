"""Claiming: read what is free, choose, take it in one request."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    ends,
    names,
    order,
    reading,
    terms,
)
from gpu_passthrough_plugin.allocation.placement.failure import (
    Again,
    Clash,
    Reply,
    clash,
    detail,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Stored
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import (
    Allocation,
    Candidate,
    Weight,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, UnitRecord

# Of so many of the best, one is taken by chance once others were faster.
_FEW = 4
# From then on a consumer without allocations is one whose maker died.
_PATIENT_ATTEMPTS = 8


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
    held = _held(service, look)
    if held is not None:
        return held
    request = look.request
    found = reading.read(
        service, look.host, is_offered=True, aggregate=request.aggregate
    )
    best = order.candidates(found, request, look.weight, _FEW)
    if not best:
        raise _no_valid_host(look)
    units = _units(found, best[0] if attempt == 0 else _any_of(best))
    ends.finish(service, units)
    reply = service.put(
        f"/allocations/{look.consumer}",
        body(units, asked, new_generation(attempt), is_typed=service.is_typed),
    )
    if reply.status != 204:
        raise refused(reply, look.consumer, str(request))
    return Allocation(
        consumer=look.consumer,
        host=units[0].record.unit.key.host,
        request=str(request),
        units=tuple(claimed(unit, look.consumer) for unit in units),
    )


def body(
    units: Sequence[Stored],
    asked: str,
    generation: int | None,
    *,
    is_typed: bool,
) -> dict[str, object]:
    """The request that claims these units, or none of them.

    :param generation: of the consumer; None for a new one.
    """
    found: dict[str, object] = {
        "allocations": {
            unit.uuid: {
                "resources": {
                    unit.record.unit.resource_class: 1,
                    names.LEASE: unit.lease.count,
                }
            }
            for unit in units
        },
        "project_id": names.PROJECT,
        "user_id": asked,
        "consumer_generation": generation,
    }
    if is_typed:
        found["consumer_type"] = names.CONSUMER_TYPE
    return found


def refused(reply: Reply, consumer: str, request: str) -> Exception:
    """What to raise of a claim that Placement refused.

    A 400 is of a unit that is gone.
    """
    if reply.status == 400 and "does not exist" not in detail(reply):
        return errors.Unavailable(
            f"Placement does not understand the claim ({detail(reply)});"
            " check the releases of both"
        )
    if clash(reply) is Clash.CONCURRENT:
        return Again(
            errors.Conflict(
                f"the allocations of consumer {consumer} were changed by"
                " others at each attempt; try again"
            )
        )
    return Again(
        errors.Conflict(
            "others were faster at each attempt to claim what"
            f" {request} asks for; try again"
        )
    )


def _held(service: Service, look: Look) -> Allocation | None:
    """What the consumer holds already; None if nothing.

    :raises Refused: when that is not what it asks for now.
    """
    held = holding(service, look.consumer)
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


def holding(
    service: Service, consumer: str
) -> tuple[reading.Consumer, tuple[UnitRecord, ...]] | None:
    """A consumer that holds units, with these; None if it holds none.

    :raises Refused: when what it has is not this ledger's.
    """
    found = reading.consumer(service, consumer)
    if found is None:
        return None
    if not found.is_ours:
        raise errors.Refused(
            f"consumer {consumer} has allocations in Placement that are not"
            " this ledger's, such as an instance's of Nova; claim for another"
            " UUID"
        )
    units = reading.holds(service, found)
    if not units:
        ends.clear(service, found)
        return None
    return found, units


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


def new_generation(attempt: int) -> int | None:
    """The generation that a consumer without allocations has.

    Placement makes a consumer before its allocations.  Whoever dies in
    between leaves one of generation 0, which a new one collides with.
    """
    is_left = attempt >= _PATIENT_ATTEMPTS and attempt % 2
    return 0 if is_left else None


def claimed(unit: Stored, consumer: str) -> UnitRecord:
    """The record of a unit that was just claimed."""
    return dataclasses.replace(
        unit.record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=2 * unit.lease.count,
    )

"""Giving units to a consumer: a reservation first, then the hold.

When a claim loses a race, Placement repeats its write within the same
transaction.  On a database with repeatable reads, such as MariaDB by
default, it then checks the capacity against what the transaction read before
the other claim, and gives one inventory of 1 to two consumers (seen with
16.0.0; source: placement, objects/allocation.py, replace_all).  Therefore a
claim does not rely on the answer of one PUT:

1. *Reserve*: one PUT takes what Placement gives.  It holds nothing.
2. Read the units again.  Of two consumers that reserved one unit, at least
   the later one sees the other, and withdraws.
3. *Hold*: one PUT, with the consumer's generation, turns reservations that
   have no rival into holds; all of them, or none.
4. Read the units again: no state counter must have been advanced meanwhile,
   which Placement would have overlooked in the same way.

A client that dies in between leaves reservations: the next claim by the same
consumer resumes them, and other clients withdraw them once they are ``DEAD_S``
old by Placement's own clock.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.placement import consumers, names
from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from gpu_passthrough_plugin.allocation.placement.fleet import StoredUnit
from gpu_passthrough_plugin.allocation.placement.move import Move
from gpu_passthrough_plugin.allocation.placement.reading import (
    read_amounts,
    read_fleet,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    Reply,
    Retry,
    Service,
    conflict_code,
    error_detail,
    retry_changed,
)
from gpu_passthrough_plugin.model.unit import State, UnitRecord

DEAD_S = 6.0
"""The client of a reservation of this age is taken for dead: a claim holds or
withdraws what it reserved within a few requests."""

PATIENT_ATTEMPTS = 8
"""After so many attempts it is, where Placement does not tell the age."""

# To look at a reservation costs two requests: most end by themselves before.
_LOOK_AFTER = 2

# Of a provider.  Source: placement, exception.py; handlers/allocation.py.
_GONE = ("does not exist", "No resource provider")

MatchesClaim = Callable[[Consumer, Sequence[StoredUnit]], bool]
IsPartial = Callable[[Consumer, Sequence[UnitRecord]], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What a consumer holds.

    :param user_id: of the consumer, see ``names.user_id``.
    """

    host: str
    user_id: str
    units: tuple[UnitRecord, ...]


def resume(
    service: Service,
    uuid: str,
    matches_claim: MatchesClaim,
    is_partial: IsPartial,
) -> Holding | None:
    """Return what a consumer holds already, or None.

    Reservations that an earlier claim of it left are turned into holds, or
    removed.  Where that claim got only some of its units, and its client died
    before it gave them back, they are given back.

    :param matches_claim: whether these reservations are what is claimed now.
    :param is_partial: whether these held units are only some of what is
        claimed now.
    :raises Refused: when its allocations are not of this ledger.
    :raises Retry: when another client was faster.
    """
    consumer = consumers.read_consumer(service, uuid)
    if consumer is None:
        return None
    if not consumer.is_of_ledger:
        raise errors.Refused(
            f"consumer {uuid} has allocations in Placement that are not of"
            " this ledger, such as those of a Nova instance; claim for"
            " another UUID"
        )
    fleet = consumers.read_fleet(service, consumer)
    units = consumer.held(fleet)
    if units and is_partial(consumer, units) and consumer.is_unused(fleet):
        _give_back(service, uuid, units)
        return None
    if not units:
        reserved = consumer.reserved(fleet)
        is_whole = len(reserved) == len(consumer.allocations)
        is_cordoned = any(host.record.is_cordoned for host in fleet.hosts)
        is_resumed = bool(reserved) and is_whole and not is_cordoned
        if not (is_resumed and matches_claim(consumer, reserved)):
            consumers.remove_allocations(service, consumer)
            return None
        units = _hold(service, consumer, reserved)
    return Holding(units[0].unit.key.host, consumer.user_id, units)


def acquire(
    service: Service,
    consumer: str,
    units: Sequence[StoredUnit],
    user_id: str,
    attempt: int,
) -> tuple[UnitRecord, ...]:
    """Reserve offered units for a new consumer, hold them, return them.

    :param user_id: of the consumer, see ``names.user_id``.
    :param attempt: how many attempts were made before.
    :raises Retry: when another client was faster.
    :raises Unavailable: when Placement does not understand the claim.
    """
    consumers.remove_leftovers(service, units)
    withdraw(service, units, attempt)
    body = reservation_body(
        units,
        user_id,
        _new_generation(attempt),
        is_typed=service.has_consumer_types,
    )
    _put(service, consumer, body, user_id)
    reserved = consumers.read_consumer(service, consumer)
    if reserved is None or not reserved.has_only_reservations:
        # Another client claims for the same consumer.
        raise lost_race(user_id)
    return _hold(service, reserved, units)


def withdraw(
    service: Service, units: Iterable[StoredUnit], attempt: int
) -> None:
    """Remove the reservations of free units whose clients are dead.

    :param attempt: how many attempts were made before.
    :raises Retry: when another client changed them meanwhile.
    """
    if attempt < _LOOK_AFTER:
        return
    for unit in units:
        if unit.record.is_claimable and not unit.is_offered:
            consumers.withdraw_reservations(
                service, unit.uuid, lambda age_s: is_dead(age_s, attempt)
            )


def is_dead(age_s: float | None, attempt: int) -> bool:
    """Whether the client of a reservation is taken for dead.

    :param age_s: of the reservation; None where Placement does not tell.
    :param attempt: how many attempts its rival made before.
    """
    if age_s is None:
        return attempt >= PATIENT_ATTEMPTS
    return age_s >= DEAD_S


def reservation_body(
    units: Sequence[StoredUnit],
    user_id: str,
    generation: int | None,
    *,
    is_typed: bool,
) -> dict[str, object]:
    """Return the PUT that reserves all of these units, or none.

    :param generation: of the consumer; None for a new one.
    :param is_typed: whether Placement wants a ``consumer_type``.
    """
    typed = {"consumer_type": names.CONSUMER_TYPE} if is_typed else {}
    return {
        "allocations": {
            unit.uuid: {
                "resources": _resources(unit, unit.counter.reservation)
            }
            for unit in units
        },
        "project_id": names.PROJECT,
        "user_id": user_id,
        "consumer_generation": generation,
        **typed,
    }


def _resources(unit: StoredUnit, amount: int) -> Mapping[str, int]:
    return {unit.record.unit.resource_class: 1, names.STATE_COUNTER: amount}


def _hold(
    service: Service, consumer: Consumer, units: Sequence[StoredUnit]
) -> tuple[UnitRecord, ...]:
    """Turn a consumer's reservations, all that it has, into holds."""
    for unit, now, amounts in _read_again(service, units):
        if not is_only_reservation(consumer.uuid, unit, now, amounts):
            consumers.remove_allocations(service, consumer)
            raise lost_race(consumer.user_id)
    holds = {unit.uuid: _resources(unit, unit.counter.hold) for unit in units}
    body = consumer.request_body(holds)
    _put(service, consumer.uuid, body, consumer.user_id)
    won = [
        unit
        for unit, now, amounts in _read_again(service, units)
        if is_only_hold(consumer.uuid, unit, now, amounts)
    ]
    if len(won) < len(units):
        claimed = [_claimed(unit, consumer.uuid) for unit in won]
        _give_back(service, consumer.uuid, claimed)
        raise lost_race(consumer.user_id)
    return tuple(_claimed(unit, consumer.uuid) for unit in units)


def _read_again(
    service: Service, units: Sequence[StoredUnit]
) -> Iterator[tuple[StoredUnit, StoredUnit | None, Mapping[str, int]]]:
    """Yield each unit, what it is now, and the amounts that consumers have.

    The state counters are read first: an amount that does not match belongs
    to a later change.
    """
    host = units[0].record.unit.key.host
    now = {unit.uuid: unit for unit in read_fleet(service, host).units}
    for unit in units:
        yield unit, now.get(unit.uuid), read_amounts(service, unit.uuid)


def is_only_reservation(
    consumer: str,
    reserved: StoredUnit,
    now: StoredUnit | None,
    amounts: Mapping[str, int],
) -> bool:
    """Whether no other consumer has anything of a reserved unit.

    :param reserved: the unit as it was read before it was reserved.
    :param now: the unit as it was read afterwards; None when it is gone.
    :param amounts: how much of its state counter each consumer has.
    """
    is_same = now is not None and now.counter.total == reserved.counter.total
    return is_same and amounts == {consumer: reserved.counter.reservation}


def is_only_hold(
    consumer: str,
    reserved: StoredUnit,
    now: StoredUnit | None,
    amounts: Mapping[str, int],
) -> bool:
    """Whether a consumer holds a unit, and no other consumer does.

    :param reserved: the unit as it was read before it was reserved.
    :param now: the unit as it was read after the hold; None when it is gone.
    :param amounts: how much of its state counter each consumer has.
    """
    hold = reserved.counter.hold
    rivals = [amount for c, amount in amounts.items() if c != consumer]
    return (
        now is not None
        and now.counter.is_held_by(hold)
        and amounts.get(consumer) == hold
        and all(amount and amount != hold for amount in rivals)
    )


def _give_back(
    service: Service, consumer: str, won: Sequence[UnitRecord]
) -> None:
    """Free the units that a claim got, as it did not get all of them."""
    for record in won:
        with contextlib.suppress(errors.Conflict, errors.Refused):
            Move(record, State.FREE, "").carry_out(service)
    left = consumers.read_consumer(service, consumer)
    if left is not None:
        consumers.remove_allocations(service, left)


def _claimed(unit: StoredUnit, consumer: str) -> UnitRecord:
    """Return the record of a unit that was claimed right now."""
    return dataclasses.replace(
        unit.record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=2 * unit.counter.count,
    )


def _put(
    service: Service, consumer: str, body: Mapping[str, object], user_id: str
) -> None:
    reply = service.put(f"/allocations/{consumer}", body)
    if reply.status != 204:
        raise claim_error(reply, consumer, user_id)


def claim_error(reply: Reply, consumer: str, user_id: str) -> Exception:
    """Return the error of a claim that Placement refused.

    A refusal with status 400 may also mean that a unit is gone.
    """
    detail = error_detail(reply)
    if reply.status == 400 and not any(text in detail for text in _GONE):
        return errors.Unavailable(
            f"Placement rejects the claim ({detail}); check the releases of"
            " Placement and of this package"
        )
    if conflict_code(reply) is ConflictCode.CONCURRENT:
        return retry_changed(f"the allocations of consumer {consumer}", detail)
    return lost_race(user_id)


def lost_race(user_id: str) -> Retry:
    """Return the error of a claim whose units another client took first."""
    return Retry(refusals.claim_lost(names.request_in(user_id)))


def _new_generation(attempt: int) -> int | None:
    """Return the generation of a consumer without allocations.

    Placement creates a consumer before its allocations.  A client that dies
    in between leaves a consumer of generation 0, with which a new one
    collides: every other attempt is for such a consumer.
    """
    is_left_by_dead = attempt >= PATIENT_ATTEMPTS and attempt % 2
    return 0 if is_left_by_dead else None

"""Making units a consumer's: a bid first, then the hold.

Where others were faster, Placement repeats a write in the same transaction:
on a database that reads repeatably, such as MariaDB by default, it checks
capacity by what was read before they were, and gives one inventory of 1 to
two consumers (seen with 16.0.0; source: placement, objects/allocation.py,
replace_all).  So a claim is not what it answers:

1. *Bid*: one PUT takes what Placement gives.  It holds nothing.
2. Read all of it again.  Of two that bid for a unit, the later one at least
   sees the other, and takes its bid back.
3. *Hold*: one PUT, with the consumer's generation, makes bids that were
   alone holds; all of them, or none.
4. Read again: no lease was counted on meanwhile, which Placement would have
   overlooked in the same way.

Whoever dies in between leaves bids: the same consumer goes on from them,
and others turn them down once they waited for long.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
)
from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from gpu_passthrough_plugin.allocation.placement.move import Move
from gpu_passthrough_plugin.allocation.placement.providers import (
    UnitProvider,
    read_unit,
)
from gpu_passthrough_plugin.allocation.placement.reading import StoredUnit
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

# From then on a consumer without allocations is one whose maker died, and
# so is one that has bids.
PATIENT_ATTEMPTS = 8

# Of a provider.  Source: placement, exception.py; handlers/allocation.py.
_GONE = ("does not exist", "No resource provider")

Wanted = Callable[[Consumer, Sequence[StoredUnit]], bool]


def acquire(
    service: Service,
    consumer: str,
    units: Sequence[StoredUnit],
    asked: str,
    attempt: int,
) -> tuple[UnitRecord, ...]:
    """Make these units, which are offered, a new consumer's.

    :param asked: what it asks for.
    :param attempt: how often this was tried before.
    :raises Retry: when others were faster.
    :raises Unavailable: when Placement does not understand the claim.
    """
    consumers.remove_leftovers(service, units)
    if attempt >= PATIENT_ATTEMPTS:
        withdraw(service, units)
    bid = request_body(
        units, asked, _generation(attempt), is_typed=service.is_typed
    )
    _put(service, consumer, bid, asked)
    found = consumers.read_consumer(service, consumer)
    if found is None or not found.has_only_reservations:
        # Another one claims for the same consumer.
        raise lost_race(asked)
    return _held(service, found, units)


def withdraw(service: Service, units: Iterable[StoredUnit]) -> None:
    """Take away what others bid for these units.

    :raises Retry: when they changed their bids meanwhile.
    """
    for unit in units:
        if unit.is_free and not unit.is_offered:
            consumers.withdraw(service, unit.uuid)


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """What a consumer holds.

    :param asked: what it asked for, as its ``user_id``.
    """

    host: str
    asked: str
    units: tuple[UnitRecord, ...]


def resume(service: Service, uuid: str, is_wanted: Wanted) -> Holding | None:
    """What a consumer holds already; None for nothing.

    :param is_wanted: whether to go on from bids that it has.
    :raises Refused: when what it has is not this ledger's.
    :raises Retry: when others were faster.
    """
    consumer = consumers.read_consumer(service, uuid)
    if consumer is None:
        return None
    if not consumer.is_ours:
        raise errors.Refused(
            f"consumer {uuid} has allocations in Placement that are not"
            " this ledger's, such as an instance's of Nova; claim for another"
            " UUID"
        )
    fleet = consumers.read_fleet(service, consumer)
    units = consumer.held(fleet)
    if not units:
        reserved = consumer.reserved(fleet)
        is_whole = len(reserved) == len(consumer.allocations)
        is_offered = not any(host.record.is_disabled for host in fleet.hosts)
        if not (
            reserved
            and is_whole
            and is_offered
            and is_wanted(consumer, reserved)
        ):
            consumers.remove_allocations(service, consumer)
            return None
        units = _held(service, consumer, reserved)
    return Holding(units[0].unit.key.host, consumer.asked, units)


def request_body(
    units: Sequence[StoredUnit],
    asked: str,
    generation: int | None,
    *,
    is_typed: bool,
) -> dict[str, object]:
    """The request that bids for these units, or for none of them.

    :param generation: of the consumer; None for a new one.
    """
    found: dict[str, object] = {
        "allocations": {
            unit.uuid: {
                "resources": _resources(unit, unit.counter.reservation)
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


def _resources(unit: StoredUnit, amount: int) -> Mapping[str, int]:
    return {unit.record.unit.resource_class: 1, names.STATE_COUNTER: amount}


def _held(
    service: Service, consumer: Consumer, units: Sequence[StoredUnit]
) -> tuple[UnitRecord, ...]:
    """Make a consumer's bids for these units, all that it has, holds."""
    for unit in units:
        now = read_unit(service, unit.uuid)
        if now is None or not is_only_reservation(consumer.uuid, unit, now):
            consumers.remove_allocations(service, consumer)
            raise lost_race(consumer.asked)
    holds = {unit.uuid: _resources(unit, unit.counter.hold) for unit in units}
    _put(service, consumer.uuid, consumer.body(holds), consumer.asked)
    won = [
        unit
        for unit in units
        if (now := read_unit(service, unit.uuid)) is not None
        and is_only_hold(consumer.uuid, unit, now)
    ]
    if len(won) < len(units):
        _give_back(service, consumer.uuid, won)
        raise lost_race(consumer.asked)
    return tuple(_record(unit, consumer.uuid) for unit in units)


def is_only_reservation(
    consumer: str, bid: StoredUnit, now: UnitProvider
) -> bool:
    """Whether a bid is the only one, for what it was made for: pure.

    :param now: the unit as it was read after the bid.
    """
    is_same = now.counter.total == bid.counter.total
    return is_same and now.holders == {consumer: bid.counter.reservation}


def is_only_hold(consumer: str, bid: StoredUnit, now: UnitProvider) -> bool:
    """Whether what was a bid is a hold, and nobody else's: pure.

    :param now: the unit as it was read after the hold.
    """
    others = [amount for c, amount in now.holders.items() if c != consumer]
    return (
        now.counter.is_held_by(bid.counter.hold)
        and now.holders.get(consumer) == bid.counter.hold
        and all(amount and amount != bid.counter.hold for amount in others)
    )


def _give_back(
    service: Service, consumer: str, won: Sequence[StoredUnit]
) -> None:
    """End those holds of a claim that did not get all, and take out it all."""
    for unit in won:
        moving = Move(_record(unit, consumer), State.FREE, "")
        with contextlib.suppress(errors.Conflict, errors.Refused):
            _free(service, moving)
    found = consumers.read_consumer(service, consumer)
    if found is not None:
        consumers.remove_allocations(service, found)


def _free(service: Service, moving: Move) -> None:
    service.retried(lambda _: moving.once(service))


def _record(unit: StoredUnit, consumer: str) -> UnitRecord:
    """The record of a unit that was just claimed."""
    return dataclasses.replace(
        unit.record,
        state=State.CLAIMED,
        consumer=consumer,
        generation=2 * unit.counter.count,
    )


def _put(
    service: Service, consumer: str, found: Mapping[str, object], asked: str
) -> None:
    reply = service.put(f"/allocations/{consumer}", found)
    if reply.status != 204:
        raise claim_error(reply, consumer, asked)


def claim_error(reply: Reply, consumer: str, asked: str) -> Exception:
    """What to raise of a claim that Placement refused: pure.

    A 400 is of a unit that is gone.
    """
    is_gone = any(words in error_detail(reply) for words in _GONE)
    if reply.status == 400 and not is_gone:
        return errors.Unavailable(
            f"Placement does not understand the claim ({error_detail(reply)});"
            " check the releases of both"
        )
    if conflict_code(reply) is ConflictCode.CONCURRENT:
        return retry_changed(
            f"what consumer {consumer} has in Placement", error_detail(reply)
        )
    return lost_race(asked)


def lost_race(asked: str) -> Retry:
    """What to raise when others want the same units."""
    return Retry(refusals.claim_lost(names.request_in(asked)))


def _generation(attempt: int) -> int | None:
    """The generation that a consumer without allocations has.

    Placement makes a consumer before its allocations.  Whoever dies in
    between leaves one of generation 0, which a new one collides with.
    """
    is_left = attempt >= PATIENT_ATTEMPTS and attempt % 2
    return 0 if is_left else None

"""Consumers: what they hold of a fleet, and how they are written."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.allocation.placement.consumers import Consumer
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet
from gpu_passthrough_plugin.allocation.placement.names import (
    INCOMPLETE_PROJECT,
    PROJECT,
    STATE_COUNTER,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    StateCounter,
    Step,
    Usage,
)
from tests.unit.allocation.placement.build import A, fleet

INSTANCE = Consumer(
    A, 3, "p", "gpu:2", "INSTANCE", {"1": {"X": 1}, "2": {"X": 1}}
)


def with_amounts(read: Fleet, *amounts: int) -> tuple[Consumer, Fleet]:
    """Return a consumer, and a fleet whose units it has these amounts of."""
    units = [
        dataclasses.replace(unit, usage=Usage(amount, 1))
        for unit, amount in zip(read.units, amounts, strict=True)
    ]
    allocations = {
        unit.uuid: {STATE_COUNTER: unit.usage.amount} for unit in units
    }
    consumer = Consumer(A, 1, "p", "gpu:1", None, allocations)
    return consumer, dataclasses.replace(read, units=tuple(units))


def test_the_request_keeps_what_the_consumer_is() -> None:
    kept = {"2": {"X": 1}}
    assert INSTANCE.request_body(kept) == {
        "allocations": {"2": {"resources": {"X": 1}}},
        "project_id": "p",
        "user_id": "gpu:2",
        "consumer_generation": 3,
        "consumer_type": "INSTANCE",
    }
    untyped = dataclasses.replace(INSTANCE, type=None)
    assert "consumer_type" not in untyped.request_body({})


def test_a_consumer_of_nova() -> None:
    assert not INSTANCE.is_of_ledger
    assert not INSTANCE.has_only_reservations
    assert INSTANCE.amount("1") == 0


def test_an_orphan_is_of_this_ledger_and_of_no_project() -> None:
    consumer, _ = with_amounts(fleet(2), 3, 3)
    orphan = dataclasses.replace(consumer, project_id=INCOMPLETE_PROJECT)
    assert orphan.is_orphan
    for project in ("p", PROJECT):
        assert not dataclasses.replace(orphan, project_id=project).is_orphan
    # A server's VCPUs, of which Placement lost the consumer, are not ours.
    mixed = {**orphan.allocations, "node": {"VCPU": 1}}
    assert not dataclasses.replace(orphan, allocations=mixed).is_orphan


def test_units_in_use_are_no_partial_claim() -> None:
    consumer, read = with_amounts(fleet(2), 3, 3)
    first, second = (
        dataclasses.replace(stored, counter=StateCounter(1, step, False, 3))
        for stored, step in zip(
            read.units, (Step.OPEN, Step.PREPARING), strict=True
        )
    )
    assert consumer.is_unused(dataclasses.replace(read, units=(first,)))
    both = dataclasses.replace(read, units=(first, second))
    assert not consumer.is_unused(both)


def test_held_and_reserved_units() -> None:
    read = fleet(3)
    first, second, third = read.units
    ended = dataclasses.replace(
        third, counter=StateCounter(9, Step.OPEN, False)
    )
    read = dataclasses.replace(read, units=(first, second, ended))
    consumer, read = with_amounts(
        read, first.counter.hold, second.counter.reservation, 3
    )
    assert [r.unit for r in consumer.held(read)] == [first.record.unit]
    assert [r.consumer for r in consumer.held(read)] == [A]
    assert [s.uuid for s in consumer.reserved(read)] == [second.uuid]
    assert not consumer.has_only_reservations


def test_only_reservations() -> None:
    read = fleet(2)
    consumer, read = with_amounts(read, 2, 2)
    assert consumer.has_only_reservations
    assert consumer.held(read) == ()
    assert len(consumer.reserved(read)) == 2

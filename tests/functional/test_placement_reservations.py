"""Bids that somebody left, and units that Placement gave to two."""

from __future__ import annotations

from contextlib import closing

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    reservations,
)
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.placement.reading import StoredUnit
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Reply,
    Service,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.server import settings_of
from tests.functional.test_ledger import RELEASE, moved
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"


@pytest.fixture
def ledger(placement_ledger: PlacementLedger) -> PlacementLedger:
    return placement_ledger


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for others as often as ever, but for a shorter time."""
    monkeypatch.setattr(
        "gpu_passthrough_plugin.allocation.placement.service._INTERVAL_S",
        0.0001,
    )


def stored(ledger: PlacementLedger) -> list[StoredUnit]:
    return list(reading.read_fleet(ledger.service).units)


def bid(
    ledger: PlacementLedger, consumer: str, *units: StoredUnit, asked: str
) -> None:
    """Bid as one would who dies right after it."""
    body = reservations.reservation_body(units, asked, None, is_typed=True)
    reply = ledger.service.put(f"/allocations/{consumer}", body)
    assert reply.status == 204


def bid_of_two(ledger: PlacementLedger, consumer: str, asked: str) -> None:
    """Have Placement take a bid for a unit that another one has.

    As it does by itself when both come at once: by more of the unit's
    class than there is.
    """
    (found,) = stored(ledger)
    path = f"/resource_providers/{found.uuid}/inventories"
    resource_class = found.record.unit.resource_class
    for total in (2, 1):
        now = ledger.service.get(path)
        now["inventories"][resource_class]["total"] = total
        assert ledger.service.put(path, now).status == 200
        if total == 2:
            bid(ledger, consumer, found, asked=asked)


def allocated(ledger: PlacementLedger, consumer: str) -> bool:
    found = ledger.service.get(f"/allocations/{consumer}")
    return bool(found["allocations"])


def test_a_bid_holds_nothing(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, stored(ledger)[0], asked="gpu:1")
    assert {r.state for r in ledger.records()} == {State.FREE}
    assert {r.consumer for r in ledger.records()} == {None}
    assert ledger.allocations() == ()
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(A)
    # Others take what is left first.
    (candidate,) = ledger.candidates(request("gpu:1"))
    assert candidate.units[0].unit == unit(2)
    assert ledger.claim(request("gpu:1"), B).units[0].unit == unit(2)


def test_its_maker_goes_on_from_it(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    bid(ledger, A, *stored(ledger)[1:], asked="gpu:2")
    held = ledger.claim(request("gpu:2"), A)
    assert [r.unit for r in held.units] == [unit(2), unit(3)]
    assert ledger.allocation(A) == held


def test_or_wants_something_else_by_now(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, *stored(ledger), asked="gpu:2")
    held = ledger.claim(request("gpu:1"), A)
    assert [r.unit for r in held.units] == [unit(1)]
    bid(ledger, B, stored(ledger)[1], asked="gpu:1")
    key = unit(2).key
    assert ledger.take([key], B, "gpu:1").units[0].unit == unit(2)


def test_on_another_host_by_now(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    bid(ledger, A, *stored(ledger), asked="gpu:1")
    ledger.publish("g", [unit(1, host="g")])
    held = ledger.claim(request("gpu:1"), A, host="g")
    assert (held.host, len(ledger.allocations())) == ("g", 1)
    bid(ledger, B, stored(ledger)[1], asked="gpu:1")
    ledger.disable("h", "drawn")
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), B)
    bid(ledger, B, stored(ledger)[1], asked="gpu:1")
    with pytest.raises(errors.Refused, match="drawn"):
        ledger.take([unit(1).key], B, "gpu:1")


def test_a_record_of_another_claim_moves_nothing(
    ledger: PlacementLedger,
) -> None:
    """Both are of one generation: the first was taken away by hand."""
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ledger.service.delete(f"/allocations/{A}")
    (other,) = ledger.claim(request("gpu:1"), B).units
    assert other.generation == record.generation
    with pytest.raises(errors.Conflict, match=f"no longer {A}'s"):
        ledger.move(record, State.PREPARING)
    assert ledger.records() == (other,)


def test_who_is_gone_when_he_is_asked_for_is_asked_for_again(
    ledger: PlacementLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    read_amounts = reading.read_amounts
    answers: list[dict[str, int]] = [{}, {B: 1}]

    def late(service: Service, uuid: str) -> dict[str, int]:
        return answers.pop() if answers else read_amounts(service, uuid)

    monkeypatch.setattr(reading, "read_amounts", late)
    assert ledger.records() == (record,)
    assert answers == []


def test_the_last_units_are_not_a_dead_ones(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, *stored(ledger), asked="gpu:2")
    assert len(ledger.claim(request("gpu:2"), B).units) == 2
    assert not allocated(ledger, A)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), C)


def test_nor_are_those_that_a_guest_has_to_have(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, *stored(ledger), asked="gpu:2")
    taken = ledger.take([unit(1).key], B, "gpu:1")
    assert [r.unit for r in taken.units] == [unit(1)]
    assert not allocated(ledger, A)


def test_a_unit_goes_although_somebody_bid_for_it(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, *stored(ledger), asked="gpu:2")
    assert ledger.publish("h", [unit(2)]).removed == (unit(1),)
    assert not allocated(ledger, A)


def test_what_changed_since_is_no_bid_any_more(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    bid(ledger, A, *stored(ledger), asked="gpu:2")
    ledger.move(ledger.unit(unit(1).key), State.QUARANTINED)
    assert ledger.claim(request("gpu:1"), A).units[0].unit == unit(2)


def test_of_two_bids_for_a_unit_one_wins(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    bid(ledger, A, *stored(ledger), asked="gpu:1")
    bid_of_two(ledger, B, "gpu:1")
    assert stored(ledger)[0].usage.consumers == 2
    assert ledger.records()[0].state is State.FREE
    held = ledger.claim(request("gpu:1"), A)
    assert ledger.allocations() == (held,)
    assert not allocated(ledger, B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), B)


def test_a_bid_beside_a_hold_is_nothing(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    free = stored(ledger)
    bid(ledger, B, *free, asked="gpu:1")
    ledger.service.delete(f"/allocations/{B}")
    held = ledger.claim(request("gpu:1"), A)
    bid_of_two(ledger, B, "gpu:1")
    (found,) = stored(ledger)
    assert (found.usage.consumers, found.usage.amount) == (
        2,
        found.counter.hold,
    )
    assert ledger.records() == held.units
    assert ledger.allocations() == (held,)
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), C)


def test_a_life_goes_on_beside_a_bid(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    bid_of_two(ledger, B, "gpu:1")
    record = moved(ledger, record, *RELEASE)
    assert ledger.records() == (record,)
    ledger.move(record, State.FREE)
    assert not allocated(ledger, A)
    assert not allocated(ledger, B)
    assert ledger.claim(request("gpu:1"), B).consumer == B


def older(ledger: PlacementLedger) -> None:
    """Make it what a release wrote that knew no bids."""
    service = ledger.service
    for unit_ in stored(ledger):
        path = f"/resource_providers/{unit_.uuid}/inventories"
        found = service.get(path)
        own = found["inventories"][names.STATE_COUNTER]
        own["min_unit"] = own["max_unit"] = unit_.counter.count
        assert service.put(path, found).status == 200
    service.delete(f"/traits/{names.LAYOUT_PREFIX}{names.LAYOUT}")
    service.forget()
    service.create_traits({f"{names.LAYOUT_PREFIX}1"})


def test_an_older_ledger_is_brought_up_to_date(
    ledger: PlacementLedger, placement_url: str
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    ledger.move(ledger.records()[1], State.QUARANTINED, reason="hot")
    before = ledger.records()
    older(ledger)
    with closing(PlacementLedger(settings_of(placement_url))) as later:
        with pytest.raises(errors.Unavailable, match="'gpu-passthrough db"):
            later.records()
        later.sync()
        assert later.records() == before
        assert later.claim(request("gpu:1"), A).units[0].unit == unit(1)
        # What is so already stays as it is.
        later.sync()
        assert len(later.allocations()) == 1


def test_unless_units_are_in_use(
    ledger: PlacementLedger, placement_url: str
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    moved(ledger, ledger.claim(request("gpu:1"), A).units[0], State.PREPARING)
    older(ledger)
    with (
        closing(PlacementLedger(settings_of(placement_url))) as later,
        pytest.raises(errors.Refused, match=r"1 units in use.*01:00\.0"),
    ):
        later.sync()
    ledger.service.forget()
    ledger.service.create_traits({f"{names.LAYOUT_PREFIX}{names.LAYOUT}"})


def test_a_claim_that_lost_a_unit_gives_back_the_other(
    ledger: PlacementLedger,
    placement_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bids were alone and are holds; then one is counted on."""
    ledger.publish("h", [unit(bus) for bus in (1, 2, 3, 4)])
    other = PlacementLedger(settings_of(placement_url))
    put = Service.put
    is_meddling = True

    def meddled(service: Service, path: str, body: Json) -> Reply:
        nonlocal is_meddling
        reply = put(service, path, body)
        if is_meddling and path.endswith(A) and other.allocations():
            is_meddling = False
            other.move(other.allocation(A).units[0], State.FREE)
        return reply

    monkeypatch.setattr(Service, "put", meddled)
    held = ledger.claim(request("gpu:2"), A)
    monkeypatch.undo()
    other.close()
    assert not is_meddling
    assert ledger.allocations() == (held,)
    assert len(held.units) == 2
    states = sorted(r.state for r in ledger.records())
    assert states == sorted([State.CLAIMED] * 2 + [State.FREE] * 2)

"""Reservations of dead clients, and units that Placement gave to two."""

from __future__ import annotations

from contextlib import closing

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    consumers,
    names,
    reading,
    reservations,
)
from gpu_passthrough_plugin.allocation.placement.fleet import StoredUnit
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Reply,
    Service,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import Usage
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
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat operations as often as ever, after shorter pauses.

    A reservation's client is taken for dead as soon as it is looked at.
    """
    monkeypatch.setattr(
        "gpu_passthrough_plugin.allocation.placement.service._INTERVAL_S",
        0.0001,
    )
    monkeypatch.setattr(reservations, "DEAD_S", 0.0)


def stored(ledger: PlacementLedger) -> list[StoredUnit]:
    return list(reading.read_fleet(ledger.service).units)


def reserve(
    ledger: PlacementLedger, consumer: str, *units: StoredUnit, user_id: str
) -> None:
    """Reserve units as a client does that dies right after it."""
    body = reservations.reservation_body(units, user_id, None, is_typed=True)
    reply = ledger.service.put(f"/allocations/{consumer}", body)
    assert reply.status == 204


def reserve_in_parallel(
    ledger: PlacementLedger, consumer: str, user_id: str
) -> None:
    """Have Placement accept a reservation of a unit that is allocated.

    It does so by itself when both come at once; here there is more of the
    unit's class for a moment.
    """
    (unit_,) = stored(ledger)
    path = f"/resource_providers/{unit_.uuid}/inventories"
    resource_class = unit_.record.unit.resource_class
    for total in (2, 1):
        now = ledger.service.get(path)
        now["inventories"][resource_class]["total"] = total
        assert ledger.service.put(path, now).status == 200
        if total == 2:
            reserve(ledger, consumer, unit_, user_id=user_id)


def has_allocations(ledger: PlacementLedger, consumer: str) -> bool:
    body = ledger.service.get(f"/allocations/{consumer}")
    return bool(body["allocations"])


def test_a_reservation_holds_nothing(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, stored(ledger)[0], user_id="gpu:1")
    assert {r.state for r in ledger.records()} == {State.FREE}
    assert {r.consumer for r in ledger.records()} == {None}
    assert ledger.allocations() == ()
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(A)
    # Other consumers get unreserved units first.
    (candidate,) = ledger.candidates(request("gpu:1"))
    assert candidate.units[0].unit == unit(2)
    assert ledger.claim(request("gpu:1"), B).units[0].unit == unit(2)


def test_the_same_claim_resumes_it(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1), unit(2), unit(3)])
    reserve(ledger, A, *stored(ledger)[1:], user_id="gpu:2")
    held = ledger.claim(request("gpu:2"), A)
    assert [r.unit for r in held.units] == [unit(2), unit(3)]
    assert ledger.allocation(A) == held


def test_another_claim_of_the_consumer_replaces_it(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:2")
    held = ledger.claim(request("gpu:1"), A)
    assert [r.unit for r in held.units] == [unit(1)]
    reserve(ledger, B, stored(ledger)[1], user_id="gpu:1")
    key = unit(2).key
    assert ledger.claim_units([key], B, "gpu:1").units[0].unit == unit(2)


def test_a_claim_on_another_host_replaces_it(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:1")
    ledger.publish("g", [unit(1, host="g")])
    held = ledger.claim(request("gpu:1"), A, host="g")
    assert (held.host, len(ledger.allocations())) == ("g", 1)
    reserve(ledger, B, stored(ledger)[1], user_id="gpu:1")
    ledger.cordon("h", "drawn")
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), B)
    reserve(ledger, B, stored(ledger)[1], user_id="gpu:1")
    with pytest.raises(errors.Refused, match="drawn"):
        ledger.claim_units([unit(1).key], B, "gpu:1")


def test_a_record_of_another_claim_moves_nothing(
    ledger: PlacementLedger,
) -> None:
    """Both have one generation: the first was removed by hand."""
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    ledger.service.delete(f"/allocations/{A}")
    (other,) = ledger.claim(request("gpu:1"), B).units
    assert other.generation == record.generation
    with pytest.raises(errors.Conflict, match=rf"01:00\.0 .* {A}"):
        ledger.move(record, State.PREPARING)
    assert ledger.records() == (other,)


def test_a_holder_that_is_gone_when_it_is_read(
    ledger: PlacementLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    read_amounts = reading.read_amounts
    answers: list[dict[str, int]] = [{}, {B: 1}]

    def read_late(service: Service, uuid: str) -> dict[str, int]:
        return answers.pop() if answers else read_amounts(service, uuid)

    monkeypatch.setattr(reading, "read_amounts", read_late)
    assert ledger.records() == (record,)
    assert answers == []


def test_a_dead_clients_reservations_are_withdrawn(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:2")
    assert len(ledger.claim(request("gpu:2"), B).units) == 2
    assert not has_allocations(ledger, A)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), C)


def test_a_young_reservation_is_left_alone(
    ledger: PlacementLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often another claim tried: its client may be about to hold."""
    monkeypatch.setattr(reservations, "DEAD_S", 600.0)
    ledger.publish("h", [unit(1)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:1")
    with pytest.raises(errors.Conflict):
        ledger.claim(request("gpu:1"), B)
    with pytest.raises(errors.Conflict):
        ledger.claim_units([unit(1).key], B, "gpu:1")
    assert has_allocations(ledger, A)
    assert ledger.claim(request("gpu:1"), A).consumer == A


def test_so_they_are_for_given_units(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:2")
    taken = ledger.claim_units([unit(1).key], B, "gpu:1")
    assert [r.unit for r in taken.units] == [unit(1)]
    assert not has_allocations(ledger, A)


def test_a_reserved_unit_is_removed(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:2")
    assert ledger.publish("h", [unit(2)]).removed == (unit(1),)
    assert not has_allocations(ledger, A)


def test_a_reservation_of_a_changed_unit_is_void(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:2")
    ledger.move(ledger.unit(unit(1).key), State.QUARANTINED)
    assert ledger.claim(request("gpu:1"), A).units[0].unit == unit(2)


def test_one_of_two_reservations_wins(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    reserve(ledger, A, *stored(ledger), user_id="gpu:1")
    reserve_in_parallel(ledger, B, "gpu:1")
    assert stored(ledger)[0].usage.consumers == 2
    assert ledger.records()[0].state is State.FREE
    held = ledger.claim(request("gpu:1"), A)
    assert ledger.allocations() == (held,)
    assert not has_allocations(ledger, B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), B)


def test_a_reservation_of_a_held_unit_is_void(ledger: PlacementLedger) -> None:
    ledger.publish("h", [unit(1)])
    free = stored(ledger)
    reserve(ledger, B, *free, user_id="gpu:1")
    ledger.service.delete(f"/allocations/{B}")
    held = ledger.claim(request("gpu:1"), A)
    reserve_in_parallel(ledger, B, "gpu:1")
    (unit_,) = stored(ledger)
    assert unit_.usage == Usage(unit_.counter.hold, 2)
    assert ledger.records() == held.units
    assert ledger.allocations() == (held,)
    with pytest.raises(errors.Refused, match="holds nothing"):
        ledger.allocation(B)
    with pytest.raises(errors.NoValidHost):
        ledger.claim(request("gpu:1"), C)


def test_a_held_unit_moves_in_spite_of_a_reservation(
    ledger: PlacementLedger,
) -> None:
    ledger.publish("h", [unit(1)])
    (record,) = ledger.claim(request("gpu:1"), A).units
    reserve_in_parallel(ledger, B, "gpu:1")
    record = moved(ledger, record, *RELEASE)
    assert ledger.records() == (record,)
    ledger.move(record, State.FREE)
    assert not has_allocations(ledger, A)
    assert not has_allocations(ledger, B)
    assert ledger.claim(request("gpu:1"), B).consumer == B


def make_layout_1(ledger: PlacementLedger) -> None:
    """Write the ledger as the release before reservations did."""
    service = ledger.service
    for unit_ in stored(ledger):
        path = f"/resource_providers/{unit_.uuid}/inventories"
        body = service.get(path)
        own = body["inventories"][names.STATE_COUNTER]
        own["min_unit"] = own["max_unit"] = unit_.counter.count
        assert service.put(path, body).status == 200
    service.delete(f"/traits/{names.LAYOUT_PREFIX}{names.LAYOUT}")
    service.forget()
    service.create_traits({f"{names.LAYOUT_PREFIX}1"})


def test_sync_migrates_layout_1(
    ledger: PlacementLedger, placement_url: str
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    ledger.move(ledger.records()[1], State.QUARANTINED, reason="hot")
    before = ledger.records()
    make_layout_1(ledger)
    with closing(PlacementLedger(settings_of(placement_url))) as later:
        with pytest.raises(errors.Unavailable, match="db sync"):
            later.records()
        later.sync()
        assert later.records() == before
        assert later.claim(request("gpu:1"), A).units[0].unit == unit(1)
        # Once more changes nothing.
        later.sync()
        assert len(later.allocations()) == 1


def test_sync_refuses_layout_1_with_units_in_use(
    ledger: PlacementLedger, placement_url: str
) -> None:
    ledger.publish("h", [unit(1), unit(2)])
    moved(ledger, ledger.claim(request("gpu:1"), A).units[0], State.PREPARING)
    make_layout_1(ledger)
    with (
        closing(PlacementLedger(settings_of(placement_url))) as later,
        pytest.raises(errors.Refused, match=r"1 units in use.*01:00\.0"),
    ):
        later.sync()
    ledger.service.forget()
    ledger.service.create_traits({f"{names.LAYOUT_PREFIX}{names.LAYOUT}"})


def test_a_claim_that_loses_one_unit_frees_the_other(
    ledger: PlacementLedger,
    placement_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its reservations became holds; then one unit is moved."""
    ledger.publish("h", [unit(bus) for bus in (1, 2, 3, 4)])
    other = PlacementLedger(settings_of(placement_url))
    put = Service.put
    is_to_move = True

    def put_and_move(service: Service, path: str, body: Json) -> Reply:
        nonlocal is_to_move
        reply = put(service, path, body)
        if is_to_move and path.endswith(A) and other.allocations():
            is_to_move = False
            other.move(other.allocation(A).units[0], State.FREE)
        return reply

    monkeypatch.setattr(Service, "put", put_and_move)
    held = ledger.claim(request("gpu:2"), A)
    monkeypatch.undo()
    other.close()
    assert not is_to_move
    assert ledger.allocations() == (held,)
    assert len(held.units) == 2
    states = sorted(r.state for r in ledger.records())
    assert states == sorted([State.CLAIMED] * 2 + [State.FREE] * 2)


def lose_hold_and_die(
    ledger: PlacementLedger, other: PlacementLedger, consumer: str
) -> None:
    """Claim two units as a client that loses one, and dies then."""
    put = Service.put
    is_lost = False

    class _Died(Exception):
        pass

    def put_and_move(service: Service, path: str, body: Json) -> Reply:
        nonlocal is_lost
        if is_lost and service is ledger.service:
            raise _Died
        reply = put(service, path, body)
        is_hold = service is ledger.service and path.endswith(consumer)
        if is_hold and other.allocations():
            is_lost = True
            other.move(other.allocation(consumer).units[0], State.FREE)
        return reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Service, "put", put_and_move)
        # What a rival advances stays among the allocations of the loser.
        patch.setattr(consumers, "end_holds", lambda *_: None)
        with pytest.raises(_Died):
            ledger.claim(request("gpu:2"), consumer)


def test_a_claim_whose_client_died_with_some_of_its_units_is_made_again(
    ledger: PlacementLedger, placement_url: str
) -> None:
    """Not told as held with fewer: all the units of a request, or none."""
    ledger.publish("h", [unit(1), unit(2)])
    with closing(PlacementLedger(settings_of(placement_url))) as other:
        lose_hold_and_die(ledger, other, A)
        assert len(other.allocation(A).units) == 1
        held = other.claim(request("gpu:2"), A)
        assert [r.unit for r in held.units] == [unit(1), unit(2)]
        assert other.allocations() == (held,)


def test_a_partial_claim_that_is_in_use_is_not_given_back(
    ledger: PlacementLedger, placement_url: str
) -> None:
    """A guest may have the unit: a claim never takes it away."""
    ledger.publish("h", [unit(1), unit(2)])
    with closing(PlacementLedger(settings_of(placement_url))) as other:
        lose_hold_and_die(ledger, other, A)
        (record,) = other.allocation(A).units
        used = other.move(record, State.PREPARING)
        with pytest.raises(errors.Refused, match="only a part of gpu:2"):
            other.claim(request("gpu:2"), A)
        assert other.unit(record.unit.key) == used

"""Whatever Placement answers: an error of this project, or a malformed unit.

Its own answers are recorded, and given again with one value left out,
renamed or replaced by an odd one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names, service
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.answers import (
    Place,
    Recording,
    Replay,
    changes,
    places,
)
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
C = "cccccccc-0000-4000-8000-000000000003"
RUNS = 150

Act = Callable[[PlacementLedger], Any]
READS: dict[str, Act] = {
    "hosts": lambda ledger: ledger.hosts(),
    "host": lambda ledger: ledger.host("good"),
    "listing": lambda ledger: ledger.listing(),
    "records": lambda ledger: ledger.records(host="good"),
    "allocations": lambda ledger: ledger.allocations(),
    "allocation": lambda ledger: ledger.allocation(A),
    "candidates": lambda ledger: ledger.candidates(request("gpu:1")),
    "no valid host": lambda ledger: ledger.no_valid_host(request("gpu:9")),
    "unit": lambda ledger: ledger.unit(unit(1, host="good").key),
    "version": lambda ledger: ledger.version(),
}
WRITES: dict[str, Act] = {
    "sync": lambda ledger: ledger.sync(),
    "claim": lambda ledger: ledger.claim(request("gpu:1"), B, host="good"),
    "claim units": lambda ledger: ledger.claim_units(
        [unit(3, host="good").key], C, "x"
    ),
    "move": lambda ledger: ledger.move(
        ledger.unit(unit(1, host="good").key), State.QUARANTINED, reason="x"
    ),
    "publish": lambda ledger: ledger.publish(
        "good", [unit(2, host="good", node=1), unit(5, host="good")]
    ),
    "cordon": lambda ledger: ledger.cordon("good", "fan"),
    "uncordon": lambda ledger: ledger.uncordon("good"),
}


@pytest.fixture
def ledger(
    placement_ledger: PlacementLedger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PlacementLedger]:
    """A ledger with two hosts, one consumer, and what is left of one."""
    ledger = placement_ledger
    for host in ("evil", "good"):
        ledger.publish(host, [unit(n, host=host) for n in (1, 2, 3)])
    ledger.claim(request("gpu:1"), A, host="evil")
    held = ledger.claim(request("gpu:1"), B, host="good")
    ledger.move(held.units[0], State.FREE)
    monkeypatch.setattr(service, "_RETRIES", 2)
    monkeypatch.setattr(service, "_MAX_INTERVAL_S", 0.0)
    yield ledger


def recorded(ledger: PlacementLedger, act: Act) -> Recording:
    """Return the answers that an act gets."""
    recording = Recording(ledger.service._adapter)
    answer_with(ledger, recording)
    ledger._is_checked = False
    act(ledger)
    return recording


def answer_with(ledger: PlacementLedger, adapter: Any) -> None:
    ledger.service._adapter = adapter


def replayed(ledger: PlacementLedger, replay: Replay, act: Act) -> object:
    answer_with(ledger, replay)
    ledger.service.forget()
    ledger._is_checked = False
    return act(ledger)


@pytest.mark.parametrize("name", [*READS, *WRITES])
def test_odd_answers(ledger: PlacementLedger, name: str) -> None:
    act = (READS | WRITES)[name]
    recording = recorded(ledger, act)
    dice = random.Random(name)  # noqa: S311 - no secret
    where = places(recording)
    assert where
    for place in dice.choices(where, k=RUNS):
        replay = Replay(recording, (place, changes(dice)))
        try:
            replayed(ledger, replay, act)
        except errors.Error as error:
            assert "\n" not in str(error)
        except Exception as error:
            raise AssertionError(f"{place}: {error!r}") from error


def of_evil(recording: Recording, evil: set[str]) -> list[Place]:
    """Return the places that tell of host "evil" alone."""
    return [
        (key, path)
        for key, path in places(recording)
        if len(path) > 2 and path[1] in evil
    ]


@pytest.mark.parametrize(
    "name", ["hosts", "listing", "allocations", "candidates"]
)
def test_what_is_odd_of_one_host(ledger: PlacementLedger, name: str) -> None:
    """It is a matter of that host: the other one is what it was."""
    tree = ledger.service.get("/resource_providers", ("name", "evil"))
    root = tree["resource_providers"][0]["uuid"]
    evil = {
        entry["uuid"] for entry in ledger.service.providers(("in_tree", root))
    }
    act = READS[name]

    def good() -> list[Any]:
        answer = act(ledger)
        if name == "listing":
            return [r for r in answer.records if r.unit.key.host == "good"]
        if name == "hosts":
            return [host for host in answer if host.name == "good"]
        return [one for one in answer if one.host == "good"]

    expected = good()
    recording = recorded(ledger, act)
    where = of_evil(recording, evil)
    assert where
    dice = random.Random(name)  # noqa: S311 - no secret
    for place in dice.choices(where, k=RUNS):
        replay = Replay(recording, (place, changes(dice)))
        answer_with(ledger, replay)
        assert good() == expected, place


def spoil(ledger: PlacementLedger, number: int, *traits: str) -> None:
    """Give a unit of host "evil" traits, as any client of Placement can."""
    name = names.unit_provider(unit(number, host="evil").key)
    (provider,) = ledger.service.providers(("name", name))
    path = f"/resource_providers/{provider['uuid']}/traits"
    body = ledger.service.get(path)
    ledger.service.create_traits(traits)
    ledger.service.update(
        path, {**body, "traits": [*body["traits"], *traits]}, "x"
    )


def test_a_malformed_unit(ledger: PlacementLedger) -> None:
    spoil(ledger, 1, "CUSTOM_GPUPT_F_X")
    spoil(ledger, 2, "CUSTOM_GPUPT_GROUP_9")
    held, free = ledger.listing().malformed
    if held.address != "0000:01:00.0":
        held, free = free, held
    assert (held.consumer, free.consumer) == (A, None)
    assert "CUSTOM_GPUPT_F_X" in held.problem
    assert str(free).startswith(f"host evil, unit {free.name}: traits CUSTOM")
    # Everything of the other host goes on.
    record, *_ = ledger.claim(request("gpu:1"), C).units
    assert record.unit.key.host == "evil"
    assert record.unit.key.address.bus == 3
    assert ledger.claim(request("gpu:1"), B).host == "good"
    assert ledger.allocations()
    # Its own host replaces what nobody holds.
    units = [unit(n, host="evil") for n in (1, 2, 3)]
    assert ledger.publish("evil", units).withheld == (units[0],)
    assert ledger.listing().malformed == (held,)
    clean = ledger.unit(units[1].key)
    assert clean.state is State.QUARANTINED
    assert free.problem in clean.reason
    ledger.move(clean, State.FREE)
    assert ledger.publish("evil", units).changed == ()


def test_a_malformed_host(ledger: PlacementLedger) -> None:
    (entry,) = ledger.service.providers(("name", names.host_provider("evil")))
    path = f"/resource_providers/{entry['uuid']}/traits"
    body = ledger.service.get(path)
    odd = "CUSTOM_GPUPT_AGGREGATE_0_0_1"
    ledger.service.create_traits([odd])
    ledger.service.update(
        path, {**body, "traits": [*body["traits"], odd]}, "x"
    )
    evil, good = ledger.hosts()
    assert (evil.is_malformed, good.is_malformed) == (True, False)
    assert "AGGREGATE" in evil.reason
    assert {c.host for c in ledger.candidates(request("gpu:1"))} == {"good"}
    units = [unit(n, host="evil") for n in (1, 2, 3)]
    ledger.publish("evil", units)
    assert not ledger.hosts()[0].is_malformed

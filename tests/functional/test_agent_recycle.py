"""Passes of the agent over devices that Nova used once, in Placement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.allocation.placement import pci_providers
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.placement.pci_providers import (
    PlacementPciProviders,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    Reply,
    Service,
)
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.flow.agent import Outcome, Result, UnitCache
from gpu_passthrough_plugin.flow.agent_recycle import Recycling
from gpu_passthrough_plugin.model.one_time_use import PciProviders
from tests.functional.acts import Acts
from tests.functional.hooked import AUDIO, GPU, SECOND
from tests.functional.placement.server import PlacementServer
from tests.functional.test_nova_recycle import ROOT, Nova
from tests.functional.world import HOST, UUID, World, place

pytest_plugins = ("tests.functional.placement.fixtures",)

DONE = [(Act.RECYCLE, Result.DONE)]
FAILED = [(Act.RECYCLE, Result.FAILED)]
PLANNED = [(Act.RECYCLE, Result.PLANNED)]
LEFT = [(Act.NONE, Result.LEFT)]


class CountingService(Service):
    """Placement, and how many requests were sent to it."""

    requests = 0

    def request(self, *arguments: Any, **named: Any) -> Reply:
        self.requests += 1
        return super().request(*arguments, **named)


@pytest.fixture
def nova(placement_ledger: PlacementLedger) -> Nova:
    return Nova(placement_ledger)


@pytest.fixture
def service(
    placement_server: PlacementServer, nova: Nova
) -> Iterator[CountingService]:
    made = CountingService(placement_server.settings().placement)
    yield made
    made.close()


@pytest.fixture
def recycling(service: CountingService) -> Recycling:
    return Recycling(lambda: PlacementPciProviders(service), ROOT)


def summary(outcomes: Iterable[Outcome]) -> list[tuple[Act, Result]]:
    told = list(outcomes)
    assert {one.finding.case for one in told} <= {Case.ONE_TIME_USE}
    return [(one.finding.act, one.result) for one in told]


def one_pass(
    world: World,
    recycling: Recycling,
    acts: Acts | None = None,
    *,
    is_dry: bool = False,
) -> tuple[Outcome, ...]:
    return recycling.run(world.context(acts), UnitCache(), is_dry=is_dry)


def test_what_waits_is_given_back(
    world: World, nova: Nova, recycling: Recycling
) -> None:
    nova.reports(GPU)
    nova.reports(AUDIO)
    nova.reports(SECOND[0], reserved=0)
    before, acts = world.snapshot(), Acts()
    told = one_pass(world, recycling, acts, is_dry=True)
    assert summary(told) == PLANNED
    assert acts.done == [] and nova.reserved()[GPU] == 1
    assert summary(one_pass(world, recycling, acts)) == DONE
    assert acts.done.count("reset") == 1
    assert set(nova.reserved().values()) == {0}
    assert world.snapshot() == before
    assert one_pass(world, recycling) == ()


def test_a_pass_with_nothing_to_recycle_asks_once(
    world: World,
    nova: Nova,
    service: CountingService,
    recycling: Recycling,
) -> None:
    nova.reports(GPU, reserved=0)
    nova.reports(SECOND[0])
    nova.reports(SECOND[1])
    one_pass(world, recycling)
    one_pass(world, recycling)
    acts = Acts()
    for _ in range(3):
        service.requests = 0
        assert one_pass(world, recycling, acts) == ()
        assert (service.requests, acts.done) == (1, [])


def test_what_an_instance_had_is_given_back_later(
    world: World,
    nova: Nova,
    recycling: Recycling,
    service: CountingService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nova.reports(GPU, reserved=0)
    nova.allocates(GPU)
    nova.reserve(GPU)
    assert one_pass(world, recycling) == ()
    # Nova does so in one request with a generation, which shows.
    allocation = service.get(f"/allocations/{UUID}")
    body = {
        "allocations": {},
        "project_id": "p",
        "user_id": "u",
        "consumer_generation": allocation["consumer_generation"],
        "consumer_type": "INSTANCE",
    }
    assert service.put(f"/allocations/{UUID}", body).status == 204
    assert summary(one_pass(world, recycling)) == DONE
    nova.allocates(GPU)
    nova.reserve(GPU)
    assert one_pass(world, recycling) == ()
    # What an operator deletes does not.
    assert service.delete(f"/allocations/{UUID}").status == 204
    assert one_pass(world, recycling) == ()
    monkeypatch.setattr(pci_providers, "_REREAD_S", 0.0)
    assert summary(one_pass(world, recycling)) == DONE


def test_what_is_not_clean_is_reset_and_told_once(
    world: World, nova: Nova, recycling: Recycling
) -> None:
    nova.reports(GPU)
    good = world.kernel.silence(place(GPU))
    acts = Acts()
    first = one_pass(world, recycling, acts)
    assert summary(first) == FAILED
    assert "does not respond" in first[0].text
    tried = list(acts.done)
    assert one_pass(world, recycling, acts) == first
    assert acts.done == tried
    world.kernel.identities[place(GPU)] = good
    # A person's command, or another start of the agent, tries again.
    again = Recycling(recycling._connect, ROOT)
    assert summary(one_pass(world, again)) == DONE
    assert one_pass(world, recycling) == ()


def test_what_is_used_is_left_until_it_is_not(
    world: World, nova: Nova, recycling: Recycling
) -> None:
    nova.reports(GPU)
    world.kernel.held.add(place(AUDIO))
    first = one_pass(world, recycling)
    assert summary(first) == FAILED
    assert one_pass(world, recycling) == first
    world.kernel.held.clear()
    assert summary(one_pass(world, recycling)) == DONE


def test_what_placement_offers_waits_for_a_person(
    world: World, nova: Nova, recycling: Recycling
) -> None:
    nova.reports(GPU)
    nova.reports(AUDIO, reserved=0)
    acts = Acts()
    told = one_pass(world, recycling, acts)
    assert summary(told) == LEFT
    assert told[0].waits_for_person and acts.done == []
    assert one_pass(world, recycling, acts) == told


def test_a_silent_placement_is_asked_now_and_then(world: World) -> None:
    asked = []

    def connect() -> NoReturn:
        asked.append(1)
        raise errors.Unavailable("Placement does not answer")

    recycling = Recycling(connect, ROOT)
    first = one_pass(world, recycling)
    assert summary(first) == LEFT and first[0].waits_for_person
    assert one_pass(world, recycling) == first
    assert len(asked) == 1
    assert agent.run(world.context(), UnitCache()) == ()


def test_a_placement_that_stops(
    world: World, placement_server: PlacementServer
) -> None:
    settings = placement_server.settings().placement
    nowhere = {**settings, "endpoint_override": "http://127.0.0.1:9"}

    def connect() -> PciProviders:
        return PlacementPciProviders(CountingService(nowhere))

    told = one_pass(world, Recycling(connect, ROOT))
    assert summary(told) == LEFT
    assert "127.0.0.1:9" in told[0].finding.detail


def test_a_host_that_placement_does_not_know(
    world: World, nova: Nova, service: CountingService
) -> None:
    connected = PlacementPciProviders(service)
    told = one_pass(world, Recycling(lambda: connected, HOST))
    assert summary(told) == LEFT
    assert "[agent] nova_host" in told[0].finding.detail

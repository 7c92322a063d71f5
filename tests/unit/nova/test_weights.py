from __future__ import annotations

import logging
import types
from collections.abc import Sequence
from typing import Any

import pytest

from gpu_passthrough_plugin.nova import pools, weigher_cost
from gpu_passthrough_plugin.nova.weigher_cost import Cost
from gpu_passthrough_plugin.nova.weights import GpuAffinityWeigher
from tests.unit.nova import scheduler
from tests.unit.nova.scheduler import Request, card, cards, pool, request


def cost(
    found: Sequence[Any], requests: Sequence[Request], which: int = 0
) -> Cost | None:
    offered = scheduler.placement(found, requests)[which : which + 1]
    return weigher_cost.cost(
        pools.read_pools(found), pools.read_requests(requests), offered
    )


def host(found: Sequence[Any], requests: Sequence[Request]) -> Any:
    """Of Nova's WeighedHost and HostState what is read."""
    state = types.SimpleNamespace(
        pci_stats=types.SimpleNamespace(pools=found),
        allocation_candidates=scheduler.placement(found, requests),
    )
    return types.SimpleNamespace(obj=state)


def weights(hosts: Sequence[Any], requests: Sequence[Request]) -> list[float]:
    spec = types.SimpleNamespace(
        pci_requests=types.SimpleNamespace(requests=requests)
    )
    return GpuAffinityWeigher().weigh_objects(hosts, spec)


def test_what_stays_free_is_counted_by_groups() -> None:
    found = [*card(1), *card(2), *card(3, 1)]
    assert cost(found, cards(1)) == Cost(0, 0, 1, 0)
    assert cost([*card(1), *card(2, 1)], cards(1)) == Cost(0, 0, 0, 0)


def test_two_nodes_and_two_switches() -> None:
    near = [*card(1, pci_switch="a"), *card(2, pci_switch="a")]
    assert cost(near, cards(2)) == Cost(0, 0, 0, 0)
    assert cost([*card(1), *card(2)], cards(2)) == Cost(0, 1, 0, 0)
    assert cost([*card(1), *card(2, 1)], cards(2)) == Cost(1, 1, 0, 0)
    far = [*card(1, 0, pci_switch="a"), *card(2, 1, pci_switch="a")]
    assert cost(far, cards(2)) == Cost(1, 1, 0, 0)


def test_the_switch_that_is_touched_has_a_rest() -> None:
    found = [
        *card(1, pci_switch="a"),
        *card(2, pci_switch="a"),
        *card(3, pci_switch="b"),
    ]
    assert cost(found, cards(1)) == Cost(0, 0, 2, 1)


def test_functions_without_a_group() -> None:
    found = [pool(f"0000:0{n}:00.0", "1e04", n // 2) for n in range(4)]
    assert cost(found, [request("1e04")]) == Cost(0, 0, 1, 0)
    assert cost(found, [request("1e04", 2)]) == Cost(0, 1, 0, 0)
    virtual = [pool("0000:05:00.0", "1018", count=8)]
    assert cost(virtual, [request("1018", 3)]) == Cost(0, 0, 5, 5)


def test_only_what_suits_is_counted() -> None:
    found = [*card(1), pool("0000:30:00.0", "0443")]
    assert cost(found, cards(1)) == Cost(0, 0, 0, 0)


def test_without_placement_the_first_that_suit_are_taken() -> None:
    found = [
        {**pool(f"0000:0{n}:00.0", "1e04", n), "rp_uuid": None}
        for n in range(3)
    ]
    asks = pools.read_requests([request("1e04"), request("1e04", 1, "other")])
    assert weigher_cost.cost(pools.read_pools(found), asks, []) == Cost(
        1, 1, 0, 0
    )
    unlike = scheduler.placement([pool("0000:30:00.0", "1")], [request("1")])
    assert weigher_cost.cost(pools.read_pools(found), asks, unlike) == Cost(
        1, 1, 0, 0
    )


def test_the_better_fit_weighs_more() -> None:
    close = host(
        [*card(1, pci_switch="a"), *card(2, pci_switch="a")], cards(2)
    )
    node = host([*card(1), *card(2)], cards(2))
    roomy = host([*card(1), *card(2), *card(3)], cards(2))
    far = host([*card(1, 0), *card(2, 1)], cards(2))
    found = weights([far, close, roomy, node, close], cards(2))
    assert found == [1.0, 4.0, 2.0, 3.0, 4.0]


def test_a_request_for_no_function_weighs_nothing() -> None:
    hosts = [host(card(1), cards(1)), host([], cards(1))]
    assert weights(hosts, []) == [0.0, 0.0]
    port = Request("port", 1, [{"physical_network": "a"}], alias_name=None)
    assert weights(hosts, [port]) == [0.0, 0.0]
    unset = types.SimpleNamespace(pci_requests=None)
    assert GpuAffinityWeigher().weigh_objects(hosts, unset) == [0.0, 0.0]


def test_what_it_does_not_understand_comes_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = host([{**card(1)[0], "count": None}], [])
    with caplog.at_level(logging.ERROR):
        found = weights([odd, host(card(1), cards(1))], cards(1))
    assert found == [0.0, 1.0]
    assert caplog.records[0].levelno == logging.ERROR

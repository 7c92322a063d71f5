from __future__ import annotations

import copy
import dataclasses
import logging
import types
from collections.abc import Sequence
from typing import Any

import pytest

from gpu_passthrough_plugin.nova.filters import IommuGroupFilter
from tests.unit.nova import scheduler
from tests.unit.nova.scheduler import Request, card, cards, pool, request

FOUND = [*card(1), *card(2)]


@dataclasses.dataclass
class Stats:
    """Of Nova's PciDeviceStats what is read."""

    pools: list[Any]


@dataclasses.dataclass
class Host:
    """Of Nova's HostState what is read and written."""

    pci_stats: Stats | None
    allocation_candidates: list[Any]


@dataclasses.dataclass
class Requests:
    """Nova's InstancePCIRequests."""

    requests: Sequence[Request]


@dataclasses.dataclass
class Spec:
    """Of Nova's RequestSpec what is read."""

    pci_requests: Requests | None


def passes(host: Host, requests: Sequence[Request]) -> bool:
    return IommuGroupFilter().host_passes(host, Spec(Requests(requests)))


def host(found: list[Any], requests: Sequence[Request]) -> Host:
    offered: list[Any] = list(scheduler.placement(found, requests))
    return Host(Stats(copy.deepcopy(found)), offered)


def test_the_candidates_are_replaced() -> None:
    one = host(FOUND, cards(1))
    assert len(one.allocation_candidates) == 16
    assert passes(one, cards(1))
    assert [scheduler.functions(c) for c in one.allocation_candidates] == [
        [p["address"] for p in card(1)],
        [p["address"] for p in card(2)],
    ]
    assert one.pci_stats == Stats(FOUND)


def test_a_host_without_a_whole_group_is_passed_over() -> None:
    one = host(FOUND, cards(1))
    assert one.pci_stats is not None
    del one.pci_stats.pools[0], one.pci_stats.pools[-1]
    assert not passes(one, cards(1))
    assert one.allocation_candidates == []


@pytest.mark.parametrize(
    ("found", "requests"),
    [
        ([pool("0000:30:00.0", "0443")], [request("0443")]),
        ([*FOUND, pool("0000:30:00.0", "0443")], [request("0443")]),
        (FOUND, []),
    ],
)
def test_other_requests_are_left_alone(
    found: list[Any], requests: list[Request]
) -> None:
    one = host(found, requests)
    before = copy.deepcopy(one)
    assert passes(one, requests)
    assert one == before


def test_a_request_for_no_function_at_all_is_left_alone() -> None:
    nova_filter = IommuGroupFilter()
    assert nova_filter.host_passes(Host(None, []), Spec(None))
    assert nova_filter.host_passes(Host(None, []), Spec(Requests(cards(1))))


@pytest.mark.parametrize(
    "change",
    [
        {"iommu_group_size": "four"},
        {"count": None},
    ],
)
def test_what_it_does_not_understand_is_passed_over(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = host(FOUND, cards(1))
    assert one.pci_stats is not None
    one.pci_stats.pools[0].update(change)
    with caplog.at_level(logging.ERROR):
        assert not passes(one, cards(1))
    assert "is passed over" in caplog.text


def test_a_nova_without_candidates_is_passed_over() -> None:
    # Before 27 a host has none.
    old = types.SimpleNamespace(pci_stats=Stats(FOUND))
    spec = Spec(Requests(cards(1)))
    assert not IommuGroupFilter().host_passes(old, spec)

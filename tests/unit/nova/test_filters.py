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
from tests.unit.nova.scheduler import (
    CARD,
    Request,
    card,
    cards,
    pool,
    request,
)

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
class Flavor:
    """Of Nova's Flavor what is read."""

    extra_specs: dict[str, str]


@dataclasses.dataclass
class Spec:
    """Of Nova's RequestSpec what is read."""

    pci_requests: Requests | None
    flavor: Flavor = dataclasses.field(default_factory=lambda: Flavor({}))


def passes(
    host: Host, requests: Sequence[Request], **extra_specs: str
) -> bool:
    flavor = Flavor(
        {f"gpu_passthrough:{key}": said for key, said in extra_specs.items()}
    )
    spec = Spec(Requests(requests), flavor)
    return IommuGroupFilter().host_passes(host, spec)


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
def test_a_pool_that_cannot_be_read_rejects_the_host(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = host(FOUND, cards(1))
    assert one.pci_stats is not None
    one.pci_stats.pools[0].update(change)
    with caplog.at_level(logging.ERROR):
        assert not passes(one, cards(1))
    assert "pci_stats" in caplog.text


def test_a_nova_without_candidates_rejects_the_host() -> None:
    # Before 27 a host has none.
    old = types.SimpleNamespace(pci_stats=Stats(FOUND))
    spec = Spec(Requests(cards(1)))
    assert not IommuGroupFilter().host_passes(old, spec)


def test_a_request_that_cannot_be_read_rejects_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unset:
        """As Nova's objects are without a field."""

        @property
        def pci_requests(self) -> None:
            raise NotImplementedError("cannot load 'pci_requests'")

    assert not IommuGroupFilter().host_passes(host(FOUND, []), Unset())
    assert "cannot load 'pci_requests'" in caplog.text


def test_units_below_one_switch() -> None:
    switch = "0000:10:00.0"
    near = [*card(2, pci_switch=switch), *card(4, pci_switch=switch)]
    found = [*card(1), *near, *card(3)]
    one = host(found, cards(2))
    assert passes(one, cards(2), locality="same-switch")
    (only,) = one.allocation_candidates
    assert scheduler.functions(only) == [
        p["address"] for p in (*card(2), *card(4))
    ]
    assert not passes(host(found, cards(3)), cards(3), locality="same-switch")
    assert passes(host(found, cards(3)), cards(3), locality="same-node")


def test_functions_that_nova_sees_alone_are_kept_together_too() -> None:
    # As primary mode lists them: without a group.
    found = [pool(f"0000:0{n}:00.0", "1e04", n % 2) for n in range(4)]
    wanted = [request("1e04", 2)]
    one = host(found, wanted)
    assert passes(one, wanted)
    assert len(one.allocation_candidates) == 12
    assert passes(one, wanted, locality="same-node")
    assert [scheduler.functions(c) for c in one.allocation_candidates] == [
        ["0000:00:00.0", "0000:02:00.0"],
        ["0000:01:00.0", "0000:03:00.0"],
    ]


def test_a_place_that_is_not_known_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = [*card(1, None), *card(2, None)]
    assert not passes(host(found, cards(2)), cards(2), locality="same-node")
    assert not passes(host(found, cards(2)), cards(2), locality="same-switch")
    # Of one unit it is always true.
    assert passes(host(found, cards(1)), cards(1), locality="same-switch")
    assert not passes(host(found, cards(1)), cards(1), locality="nearby")
    assert "'nearby'" in caplog.text


@pytest.mark.parametrize(
    ("found", "count", "locality", "why"),
    [
        (FOUND[1:-1], 1, {}, "2 groups have some of these free: 2 not wholly"),
        (FOUND, 3, {}, "2 groups have some of these free: 2 that can be"),
        (
            [*card(1), *card(2, node=1)],
            2,
            {"locality": "same-node"},
            "2 that can be taken whole, but not enough of them with same-node",
        ),
    ],
)
def test_a_rejected_host_is_logged_with_the_reason(
    found: list[Any],
    count: int,
    locality: dict[str, str],
    why: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sized = [{**p, "iommu_group_size": "4"} for p in found]
    one = host(sized, cards(count))
    # Placement does not know yet what is taken.
    one.allocation_candidates = list(
        scheduler.placement([*FOUND, *card(3)], cards(count), 4)
    )
    with caplog.at_level(logging.DEBUG):
        assert not passes(one, cards(count), **locality)
    (line,) = [r for r in caplog.messages if "is rejected" in r]
    assert why in line
    assert f"asks for {4 * count} functions" in line
    assert "\n" not in line


def test_a_rejection_by_number_and_by_groups_that_do_not_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not by the locality, which one card alone would keep."""
    strange = card(3, products=(*CARD[:3], "ffff"))
    sized = [
        {**p, "iommu_group_size": "4"}
        for p in (*card(1), *card(2)[1:], *strange)
    ]
    one = host(sized, cards(2))
    one.allocation_candidates = list(
        scheduler.placement([*FOUND, *card(3)], cards(2), 4)
    )
    with caplog.at_level(logging.DEBUG):
        assert not passes(one, cards(2), locality="same-node")
    assert (
        "3 groups have some of these free: 1 not wholly free, 1 with a"
        " function that no alias accepts, 1 that can be taken whole"
    ) in caplog.text
    assert "not enough of them" not in caplog.text


def test_a_host_that_placement_names_nothing_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = host(FOUND, cards(1))
    one.allocation_candidates = []
    with caplog.at_level(logging.DEBUG):
        assert not passes(one, cards(1))
    assert "Placement names no candidate for it" in caplog.text

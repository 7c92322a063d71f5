"""Candidates of the full mode: whole groups, each function once."""

from __future__ import annotations

import collections
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.nova import candidates, pools
from tests.unit.nova import scheduler
from tests.unit.nova.scheduler import Request, card, pool, request

PRODUCTS = ("0001", "0002", "0003")


@st.composite
def hosts(draw: st.DrawFn) -> list[Any]:
    """Cards of up to three functions, some of which are gone, and others."""
    found: list[Any] = []
    for bus in range(draw(st.integers(1, 5))):
        products = draw(
            st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=3)
        )
        node = draw(st.sampled_from([None, 0, 1]))
        group = draw(st.sampled_from([f"{bus}", "shared"]))
        found += card(bus, node, products, iommu_group=group)
    sizes = collections.Counter(p["iommu_group"] for p in found)
    for one in found:
        one["iommu_group_size"] = str(sizes[one["iommu_group"]])
    for bus in range(draw(st.integers(0, 2))):
        product = draw(st.sampled_from(PRODUCTS))
        count = draw(st.integers(1, 3))
        found.append(pool(f"0000:f{bus}:00.0", product, count=count))
    gone = draw(st.sets(st.integers(0, len(found) - 1), max_size=2))
    return [one for i, one in enumerate(found) if i not in gone]


@st.composite
def flavors(draw: st.DrawFn) -> list[Request]:
    """Some aliases, two of which may be for the same functions."""
    return [
        request(product, draw(st.integers(1, 2)), f"req{number}")
        for number, product in enumerate(
            draw(st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=3))
        )
    ]


def built(
    found: list[Any], flavor: list[Request], limit: int
) -> tuple[candidates.Candidate, ...] | None:
    offered = scheduler.placement(found, flavor, limit)
    return candidates.build(
        pools.read_pools(found), pools.read_requests(flavor), offered
    )


@given(hosts(), flavors(), st.integers(1, 200))
def test_a_candidate_is_whole_groups_and_what_was_asked_for(
    found: list[Any], flavor: list[Request], limit: int
) -> None:
    by_provider = {p["rp_uuid"]: p for p in found}
    for candidate in built(found, flavor, limit) or ():
        taken = collections.Counter(
            provider
            for suffix, providers in candidate["mappings"].items()
            if suffix
            for provider in providers
        )
        for provider, count in taken.items():
            assert count <= by_provider[provider]["count"]
            group = by_provider[provider].get("iommu_group")
            members = [
                p for p in found if group and p.get("iommu_group") == group
            ]
            assert all(p["rp_uuid"] in taken for p in members)
            if members:
                size = by_provider[provider]["iommu_group_size"]
                assert len(members) == int(size)
        for one in flavor:
            slots = [f"{one.request_id}-{n}" for n in range(one.count)]
            for slot in slots:
                (provider,) = candidate["mappings"][slot]
                wanted = one.spec[0]["product_id"]
                assert by_provider[provider]["product_id"] == wanted
        amounts = {
            provider: sum(share["resources"].values())
            for provider, share in candidate["allocations"].items()
            if provider != scheduler.ROOT
        }
        assert amounts == taken


@given(hosts(), flavors(), st.randoms(use_true_random=False))
def test_the_same_is_built_whatever_the_order(
    found: list[Any], flavor: list[Request], random: Any
) -> None:
    first = built(found, flavor, 200)
    mixed = random.sample(found, len(found))
    offered = scheduler.placement(found, flavor, 200)
    again = candidates.build(
        pools.read_pools(mixed), pools.read_requests(flavor), offered
    )
    assert first == again


@given(hosts(), flavors())
def test_a_whole_one_that_placement_names_is_not_missed(
    found: list[Any], flavor: list[Request]
) -> None:
    offered = scheduler.placement(found, flavor, 200)
    some = built(found, flavor, 200)
    if some is not None and any(is_whole(c, found) for c in offered):
        assert some


def is_whole(candidate: candidates.Candidate, found: list[Any]) -> bool:
    groups = collections.Counter(
        p.get("iommu_group")
        for p in found
        if p["rp_uuid"] in candidate["allocations"]
    )
    sizes = {p.get("iommu_group"): p.get("iommu_group_size") for p in found}
    return all(
        count == int(sizes[group]) for group, count in groups.items() if group
    )

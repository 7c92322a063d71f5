from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpu_passthrough_plugin.nova import candidates, pools
from gpu_passthrough_plugin.nova.candidates import Candidate
from tests.unit.nova import scheduler
from tests.unit.nova.scheduler import Request, card, cards, pool, request

EIGHT = [p for bus in range(1, 9) for p in card(bus, node=(bus - 1) // 4)]


def built(
    found: Sequence[Any],
    requests: Sequence[Request],
    offered: Sequence[Candidate] | None = None,
) -> tuple[Candidate, ...] | None:
    if offered is None:
        offered = scheduler.placement(found, requests)
    return candidates.build(
        pools.read_pools(found), pools.read_requests(requests), offered
    )


def first(found: Sequence[Any], requests: Sequence[Request]) -> list[str]:
    """The addresses that the best candidate takes."""
    some = built(found, requests)
    assert some
    return scheduler.functions(some[0])


def of_card(*buses: int) -> list[str]:
    return [f"0000:{b:02x}:00.{number}" for b in buses for number in range(4)]


def test_eight_instances_get_a_card_each_and_the_ninth_none() -> None:
    left = list(EIGHT)
    taken = []
    for _ in range(8):
        functions = first(left, cards(1))
        assert functions == of_card(int(functions[0][5:7], 16))
        taken += functions
        left = [p for p in left if p["address"] not in functions]
    assert sorted(taken) == of_card(*range(1, 9))
    # Placement does not know yet that the last is taken.
    late = scheduler.placement(EIGHT, cards(1))
    assert (
        built(
            [*left, pool("0000:20:00.0", "ffff", iommu_group="x")],
            cards(1),
            late,
        )
        is None
    )
    half = [p for p in EIGHT if p["address"] == "0000:03:00.1"]
    assert built(half, cards(1), late) == ()


def test_what_placement_offers_is_split_and_what_is_built_is_whole() -> None:
    offered = scheduler.placement(EIGHT, cards(1))
    split = [c for c in offered if len({*scheduler.touched(c, EIGHT)}) > 1]
    assert len(offered) == 1000
    assert len(split) > 990
    some = built(EIGHT, cards(1), offered)
    assert some is not None
    assert len(some) == 8
    for candidate in some:
        assert len({*scheduler.touched(candidate, EIGHT)}) == 1


def test_a_candidate_is_what_placement_takes() -> None:
    some = built(card(1), cards(1))
    assert some == (
        {
            "allocations": {
                "root": {"resources": {"VCPU": 2, "MEMORY_MB": 512}},
                "rp-0000:01:00.0": {"resources": {"CUSTOM_PCI_10DE_1E04": 1}},
                "rp-0000:01:00.1": {"resources": {"CUSTOM_PCI_10DE_10F8": 1}},
                "rp-0000:01:00.2": {"resources": {"CUSTOM_PCI_10DE_1AD8": 1}},
                "rp-0000:01:00.3": {"resources": {"CUSTOM_PCI_10DE_1AD9": 1}},
            },
            "mappings": {
                "": ["root"],
                "req-1e04-0": ["rp-0000:01:00.0"],
                "req-10f8-0": ["rp-0000:01:00.1"],
                "req-1ad8-0": ["rp-0000:01:00.2"],
                "req-1ad9-0": ["rp-0000:01:00.3"],
            },
        },
    )


def test_two_cards_are_of_one_node() -> None:
    nodes = {1: 0, 2: 1, 3: 1, 4: 0, 5: 1}
    found = [p for bus, node in nodes.items() for p in card(bus, node)]
    assert first(found, cards(2)) == of_card(1, 4)
    assert first(found, cards(3)) == of_card(2, 3, 5)
    assert first(found, cards(4)) == of_card(1, 2, 3, 4)
    assert built(found, cards(6), scheduler.placement(found, cards(5))) == ()


def test_one_card_leaves_the_fuller_node_whole() -> None:
    found = [*card(1, 0), *card(2, 0), *card(3, 1)]
    assert first(found, cards(1)) == of_card(3)


def test_every_node_has_candidates() -> None:
    # Another filter may want the instance on one of them.
    found = [p for bus in range(64) for p in card(bus, bus // 32)]
    some = built(found, cards(1))
    assert some is not None
    buses = [int(scheduler.functions(c)[0][5:7], 16) for c in some]
    assert {bus // 32 for bus in buses[:32]} == {0, 1}


def test_part_of_a_card_is_not_handed_out() -> None:
    assert built(EIGHT, [request("1e04")]) == ()
    assert built(EIGHT, cards(1)[:3]) == ()
    uneven = [request("1e04", 2), *cards(1)[1:]]
    assert built(EIGHT, uneven) == ()


def test_a_group_that_lost_a_function_is_not_whole() -> None:
    short = card(1, iommu_group_size="4")[:2]
    whole = card(2, iommu_group_size="2", products=scheduler.CARD[:2])
    requests = cards(1)[:2]
    assert built(short, requests) == ()
    assert first([*short, *whole], requests) == [
        "0000:02:00.0",
        "0000:02:00.1",
    ]


def test_a_group_of_two_cards_goes_before_two_groups() -> None:
    double = [
        *card(5, iommu_group="double"),
        *card(6, iommu_group="double"),
    ]
    found = [*card(1), *card(2), *double]
    assert first(found, cards(2)) == of_card(5, 6)
    assert first(found, cards(1)) == of_card(1)


def test_two_aliases_for_the_same_functions_share_them() -> None:
    requests = [
        request("1e04", 1, "near"),
        request("1e04", 1, "far"),
        *cards(2)[1:],
    ]
    assert first(EIGHT, requests) == of_card(1, 2)


def test_functions_outside_of_groups_come_along() -> None:
    found = [*card(1), pool("0000:30:00.0", "0443")]
    requests = [*cards(1), request("0443")]
    assert first(found, requests) == [*of_card(1), "0000:30:00.0"]


def test_what_has_no_tag_is_left_alone() -> None:
    plain = [pool("0000:30:00.0", "0443")]
    assert built(plain, [request("0443")]) is None
    assert built([*plain, *EIGHT], [request("0443")]) is None
    untagged = [
        {k: v for k, v in p.items() if k != "iommu_group"} for p in EIGHT
    ]
    assert built(untagged, cards(1)) is None


def test_a_network_port_is_left_alone() -> None:
    port = Request("port", 1, [{"physical_network": "a"}], alias_name=None)
    assert built(EIGHT, [port], []) is None


def test_without_placement_no_group_is_handed_out() -> None:
    assert built(EIGHT, cards(1), []) == ()
    unmapped = scheduler.placement(EIGHT, cards(1)[1:])
    assert built(EIGHT, cards(1), unmapped) == ()
    # What Nova itself refuses: no pool has a provider that is named.
    unreported = [{**p, "rp_uuid": None} for p in card(1)]
    offered = scheduler.placement(EIGHT, cards(1))
    assert built(unreported, cards(1), offered) is None


def test_what_placement_did_not_name_comes_last() -> None:
    # What is claimed, and not yet off the pools, is not named any more.
    free = [p for p in EIGHT if p["address"] in of_card(7, 8)]
    some = built(EIGHT, cards(1), scheduler.placement(free, cards(1)))
    assert some is not None
    assert scheduler.functions(some[0]) == of_card(7)
    assert scheduler.functions(some[1]) == of_card(8)
    assert len(some) == 8


def test_traits_are_for_placement_to_check() -> None:
    requests = [request("1e04", traits="CUSTOM_FAST"), *cards(1)[1:]]
    fast = [p for p in EIGHT if p["address"].startswith("0000:06")]
    offered = scheduler.placement(fast, requests)
    some = built(EIGHT, requests, offered)
    assert some is not None
    assert [scheduler.functions(c) for c in some] == [of_card(6)]


def test_a_tag_says_the_traits_of_what_placement_did_not_name() -> None:
    requests = [request("1e04", traits="custom_fast"), *cards(1)[1:]]
    found = [
        *card(1, iommu_group_traits="CUSTOM_COLD,CUSTOM_FAST"),
        *card(2, iommu_group_traits="CUSTOM_COLD"),
        *card(3, iommu_group_traits="CUSTOM_FAST"),
        *card(4),
    ]
    # Of a wide host it does not name everything.
    offered = scheduler.placement(card(3), requests)
    some = built(found, requests, offered)
    assert some is not None
    assert [scheduler.functions(c) for c in some] == [of_card(3), of_card(1)]


def test_two_cards_are_below_one_switch() -> None:
    switches = {1: "a", 2: "b", 3: "b", 4: "a", 5: "a"}
    found = [p for bus, s in switches.items() for p in card(bus, pci_switch=s)]
    assert first(found, cards(2)) == of_card(2, 3)
    assert first(found, cards(3)) == of_card(1, 4, 5)
    assert first(found, cards(1)) == of_card(2)
    assert first([*found, *card(6)], cards(1)) == of_card(6)


def test_a_resource_class_is_for_placement_to_check() -> None:
    ours = [pool("0000:30:00.0", "0443", of_class="QAT")]
    qat = Request("qat", 1, [{"resource_class": "QAT"}])
    assert built([*ours, *EIGHT], [qat]) is None


def test_each_way_to_the_rest_is_kept_for_each_group() -> None:
    offered = scheduler.placement(card(1), cards(1))
    pinned: Any = [
        {
            **c,
            "allocations": {
                **c["allocations"],
                "root": {"resources": {"PCPU": 2}},
            },
        }
        for c in offered
    ]
    some = built(card(1), cards(1), [*pinned, *offered])
    assert some is not None
    assert [[*c["allocations"]["root"]["resources"]] for c in some] == [
        ["PCPU"],
        ["VCPU", "MEMORY_MB"],
    ]


def test_what_was_built_can_be_built_on() -> None:
    # So it is for the second instance of one request.
    some = built(EIGHT, cards(1))
    assert some is not None
    gone = scheduler.functions(some[0])
    left = [p for p in EIGHT if p["address"] not in gone]
    again = built(left, cards(1), some)
    assert again is not None
    assert again == some[1:]

"""Which units a request gets, as tables of hosts and answers."""

from __future__ import annotations

import time

import pytest

from gpu_passthrough_plugin.allocation import choice
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import (
    GPU,
    NIC,
    buses,
    free,
    request,
    unit,
)


def test_one_card_of_one() -> None:
    assert buses(request("gpu:1"), [unit(1)]) == [(1,)]


@pytest.mark.parametrize(
    "text", ["gpu:2", "nic:1", "gpu:1,nic:1", "gpu:1,any:1"]
)
def test_nothing_fits(text: str) -> None:
    assert buses(request(text), [unit(1)]) == []


def test_nothing_is_free() -> None:
    assert buses(request("gpu:1"), []) == []


def test_two_hosts_do_not_satisfy_one_request_together() -> None:
    units = [unit(1, host="a"), unit(1, host="b")]
    assert buses(request("gpu:2"), units) == []
    assert buses(request("gpu:1"), units) == [(1,), (1,)]


def test_a_unit_with_two_cards_waits_while_a_single_is_free() -> None:
    units = [unit(1, GPU, GPU), unit(2)]
    assert buses(request("gpu:1"), units) == [(2,), (1,)]
    assert buses(request("gpu:1"), units[:1]) == [(1,)]


def test_a_unit_with_two_cards_beats_two_singles() -> None:
    units = [unit(1), unit(2), unit(3, GPU, GPU)]
    assert buses(request("gpu:2"), units)[0] == (3,)


def test_three_cards_take_a_pair_and_a_single() -> None:
    units = [unit(1, GPU, GPU), unit(2, GPU, GPU), unit(3)]
    assert buses(request("gpu:3"), units)[0] == (1, 3)


def test_a_card_and_what_it_brings() -> None:
    # A card and a NIC in one group satisfy both aliases, and waste the
    # NIC where nobody wish for it.
    both, alone = unit(1, GPU, NIC), unit(2)
    assert buses(request("gpu:1,nic:1"), [both, alone]) == [(1,)]
    assert buses(request("gpu:1"), [both, alone]) == [(2,), (1,)]


def test_a_candidate_has_no_unit_that_could_be_left_out() -> None:
    units = [unit(1), unit(2, GPU, GPU)]
    assert buses(request("gpu:2"), units) == [(2,)]


def test_aliases_that_overlap_share_the_cards_out() -> None:
    # "any" takes the NIC, or nothing is left for "gpu".
    assert buses(request("any:1,gpu:1"), [unit(1), unit(2, NIC)]) == [(1, 2)]
    assert buses(request("gpu:1,any:1"), [unit(1)]) == []
    assert buses(request("gpu:1,any:1"), [unit(1, GPU, GPU)]) == [(1,)]


def test_a_broken_node_goes_first() -> None:
    whole = [unit(1, node=0), unit(2, node=0)]
    rest, gone = unit(3, node=1), unit(4, node=1)
    assert buses(request("gpu:1"), [*whole, rest], [gone])[0] == (3,)


def test_the_node_with_the_fewest_left_goes_first() -> None:
    units = [unit(1, node=0), unit(2, node=0), unit(3, node=1)]
    assert buses(request("gpu:1"), units)[0] == (3,)


def test_a_broken_switch_goes_first() -> None:
    units = [unit(1, switch=1), unit(2, switch=1), unit(3, switch=2)]
    gone = unit(4, switch=2)
    assert buses(request("gpu:1"), units, [gone])[0] == (3,)


def test_two_cards_share_a_switch() -> None:
    units = [unit(1, switch=1), unit(2, switch=2), unit(3, switch=2)]
    assert buses(request("gpu:2"), units)[0] == (2, 3)


def test_the_switch_with_the_fewest_left_goes_first() -> None:
    units = [unit(1, switch=1), unit(2, switch=1), unit(3, switch=2)]
    assert buses(request("gpu:1"), units)[0] == (3,)


def test_a_unit_without_node_keeps_nodes_whole() -> None:
    assert buses(request("gpu:1"), [unit(1), unit(2, node=None)])[0] == (2,)


def test_waste_counts_before_whole_nodes() -> None:
    units = [unit(1, GPU, GPU, node=0), unit(2, node=1)]
    gone = unit(3, node=0)
    assert buses(request("gpu:1"), units, [gone])[0] == (2,)


def test_all_below_one_switch() -> None:
    units = [unit(1, switch=1), unit(2, switch=1), unit(3, switch=2)]
    wish = request("gpu:2", same_switch=True)
    assert buses(wish, units) == [(1, 2)]
    assert buses(wish, units[1:]) == []
    # It is what the units have in common, not what is best otherwise.
    gone = [unit(4, switch=1)]
    apart = [*units, unit(5, GPU, GPU, switch=3)]
    assert buses(wish, apart, gone) == [(5,), (1, 2)]


def test_an_unknown_switch_is_no_common_one() -> None:
    units = [unit(1), unit(2), unit(3, GPU, GPU)]
    assert buses(request("gpu:2", same_switch=True), units) == [(3,)]
    assert buses(request("gpu:1", same_switch=True), units) == [(1,), (3,)]


def test_a_switch_on_two_nodes_is_two() -> None:
    units = [unit(1, switch=1, node=0), unit(2, switch=1, node=1)]
    assert buses(request("gpu:2", same_switch=True), units) == []


def test_one_switch_and_one_node() -> None:
    units = [
        unit(bus, node=node, switch=switch)
        for bus, (node, switch) in enumerate(
            [(0, 1), (0, 2), (0, 2), (1, 3), (1, 3)]
        )
    ]
    wish = request("required:2", 1, same_switch=True)
    assert buses(wish, units) == [(3, 4)]
    free_of_nodes = request("required:2", same_switch=True)
    assert buses(free_of_nodes, units) == [(3, 4), (1, 2)]


def test_a_trait_that_an_alias_asks_for() -> None:
    units = [unit(1), unit(2, traits="GOLD LOUD"), unit(3, traits="LOUD")]
    assert buses(request("gold:1"), units) == [(2,)]
    assert buses(request("gold:1,gpu:1"), units) == [(1, 2)]
    assert buses(request("gold:2"), units) == []


def test_a_trait_that_no_unit_may_have() -> None:
    units = [unit(1, traits="GOLD LOUD"), unit(2), unit(3, traits="GOLD")]
    assert buses(request("gold:1", without="LOUD"), units) == [(3,)]
    assert buses(request("gpu:3", without="LOUD"), units) == []
    assert buses(request("gpu:1", without="LOUD GOLD"), units) == [(2,)]


def test_equal_units_go_by_host_and_address() -> None:
    units = [unit(2), unit(1), unit(1, host="a")]
    candidates = choice.candidates(request("gpu:1"), free(units), limit=10)
    shown = [(f.host, f.units[0].unit.key.address.bus) for f in candidates]
    assert shown == [("a", 1), ("h", 1)]


def test_units_of_a_candidate_stand_by_address() -> None:
    assert buses(request("gpu:3"), [unit(3), unit(1), unit(2)]) == [(1, 2, 3)]


def test_no_more_than_the_limit() -> None:
    units = [unit(bus, node=bus) for bus in range(8)]
    assert len(buses(request("gpu:1"), units, limit=3)) == 3


def test_the_generation_comes_along() -> None:
    entry = free([unit(1)])[0]
    (candidate,) = choice.candidates(request("gpu:1"), [entry], limit=1)
    assert candidate.units == (entry,)


@pytest.mark.parametrize(
    ("units", "text", "score"),
    [
        # A unit of no node and no switch, and nothing wasted.
        ([unit(1, node=None)], "gpu:1", 0),
        # One node broken.
        ([unit(1)], "gpu:1", 1_00_00_00),
        # A second unit; one switch broken as well.
        ([unit(1, switch=1), unit(2, switch=1)], "gpu:2", 1_01_01_00_00),
        # One node too many.
        ([unit(1), unit(2, node=1)], "gpu:2", 1_00_01_02_00_00_00),
        # One card wasted.
        ([unit(1, GPU, GPU, node=None)], "gpu:1", 1_00_00_00_00_00),
        # One unit left on the node.
        ([unit(1), unit(2)], "gpu:1", 1_00_01_00),
    ],
)
def test_score(units: list[Unit], text: str, score: int) -> None:
    candidates = choice.candidates(request(text), free(units), limit=1)
    assert [candidate.score for candidate in candidates] == [score]


@pytest.mark.parametrize("switches", [None, 1, 4, 32])
def test_half_of_many_equal_units_is_found_at_once(
    switches: int | None,
) -> None:
    # There are 601,080,390 halves; trying them takes minutes, this takes
    # milliseconds.
    units = [
        unit(bus, node=bus % 2, switch=switches and bus % switches)
        for bus in range(32)
    ]
    began = time.process_time()
    assert len(buses(request("gpu:16"), units)[0]) == 16
    assert len(buses(request("gpu:8,any:8"), units)[0]) == 16
    assert time.process_time() - began < 5


def test_a_host_of_a_known_shape_is_not_searched_again() -> None:
    def shifted(by: int, host: str) -> list[Unit]:
        return [
            unit(bus + by, node=bus % 2, switch=bus % 4 + by, host=host)
            for bus in range(8)
        ]

    first = buses(request("gpu:3,any:2"), shifted(0, "a"))
    searched = choice._search.cache_info().misses
    again = buses(request("gpu:3,any:2"), shifted(16, "b"))
    assert choice._search.cache_info().misses == searched
    assert again == [tuple(bus + 16 for bus in expected) for expected in first]
    # Where another unit is taken the shape is another.
    taken = [unit(9, node=1, switch=1)]
    assert buses(request("gpu:3,any:2"), shifted(0, "a"), taken)
    assert choice._search.cache_info().misses == searched
    gone = [unit(9, node=1, switch=1, host="a")]
    assert buses(request("gpu:3,any:2"), shifted(0, "a"), gone)
    assert choice._search.cache_info().misses == searched + 1


def test_equal_hosts_are_searched_once() -> None:
    units = [
        unit(bus, host=f"h{number:04}", node=bus // 4)
        for number in range(1000)
        for bus in range(8)
    ]
    began = time.process_time()
    candidates = choice.candidates(request("gpu:4"), free(units), limit=2)
    assert [candidate.host for candidate in candidates] == ["h0000", "h0000"]
    assert time.process_time() - began < 5

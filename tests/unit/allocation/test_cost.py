"""Costs as integers that add, and what they stand for."""

from __future__ import annotations

import itertools

from gpu_passthrough_plugin.allocation.cost import Cost, CostModel
from gpu_passthrough_plugin.allocation.host_signature import (
    Matcher,
    signature,
)
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import GPU, request, unit


def total(
    wish: Request, units: list[Unit], indexes: tuple[int, ...]
) -> tuple[CostModel, int]:
    """What units of a host cost together: each node and switch paid once."""
    host = signature(units, (), Matcher(wish))
    costs = CostModel(wish, host)
    chosen = [host.units[index] for index in indexes]
    nodes = {u.location.node for u in chosen}
    switches = {u.switch: u for u in chosen}
    return costs, (
        costs.empty_set()
        + sum(map(costs.unit, indexes))
        + sum(map(costs.first_on_node, nodes))
        + sum(map(costs.first_on_switch, switches.values()))
    )


def cost(wish: Request, units: list[Unit], *indexes: int) -> Cost:
    costs, number = total(wish, units, indexes)
    ranked = costs.ranked_set(number)
    assert ranked.indexes == indexes
    return ranked.cost


def test_what_is_wasted_and_broken() -> None:
    units = [unit(1, GPU, GPU, switch=1), unit(2, switch=1), unit(3, node=1)]
    assert cost(request("gpu:1"), units, 0) == Cost(
        waste=1, nodes=1, switches=1, node_rest=1, switch_rest=1
    )
    assert cost(request("gpu:2"), units, 1, 2) == Cost(
        distance=1, units=1, nodes=2, switches=1, node_rest=1, switch_rest=1
    )


def test_the_distance_of_each_unit_to_the_instance() -> None:
    units = [
        unit(1, node=0, socket=0),
        unit(2, node=1, socket=0),
        unit(3, node=None),
        unit(4, node=2, socket=1),
    ]
    wish = request("gpu:1", 0)
    distances = [cost(wish, units, index).distance for index in range(4)]
    assert distances == [0, 1, 1, 2]


def test_a_sum_tells_which_units_it_is_of() -> None:
    units = [unit(bus, node=bus % 3, switch=bus % 2) for bus in range(6)]
    for size in range(1, len(units) + 1):
        for indexes in itertools.combinations(range(len(units)), size):
            costs, number = total(request("gpu:1"), units, indexes)
            assert costs.ranked_set(number).indexes == indexes


def test_of_equal_sets_the_lower_addresses_cost_less() -> None:
    units = [unit(bus) for bus in range(4)]
    wish = request("gpu:2")
    numbers = [
        total(wish, units, pair)[1] for pair in ((0, 1), (0, 3), (1, 2))
    ]
    assert numbers == sorted(numbers)


def test_a_score_has_two_digits_a_part_and_no_more() -> None:
    units = [unit(bus, node=None) for bus in range(120)]
    costs, number = total(request("gpu:1"), units, tuple(range(120)))
    ranked = costs.ranked_set(number)
    assert (ranked.cost.units, ranked.cost.waste) == (119, 119)
    assert ranked.score == 99_99_00_00_00_00

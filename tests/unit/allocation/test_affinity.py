"""NUMA policies: where Nova is followed, and where it is widened."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation import affinity
from gpu_passthrough_plugin.allocation.affinity import NumaLocation
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.allocation.build import GPU, NIC, buses, request, unit

# On two sockets of two nodes each, one card a node; another without.
NODES: list[Unit] = [
    unit(1, node=0, socket=0),
    unit(2, node=1, socket=0),
    unit(3, node=2, socket=1),
    unit(4, node=3, socket=1),
    unit(5, node=None),
]


@pytest.mark.parametrize(
    ("text", "node", "expected"),
    [
        ("required:1", 1, {2}),
        ("required:1", 7, set()),
        ("legacy:1", 1, {2, 5}),
        ("legacy:1", 7, {5}),
        ("socket:1", 1, {1, 2}),
        ("socket:1", 7, set()),
        ("gpu:1", 1, {1, 2, 3, 4, 5}),
    ],
)
def test_tied_to_a_node(text: str, node: int, expected: set[int]) -> None:
    candidates = buses(request(text, node), NODES)
    assert {bus for (bus,) in candidates} == expected


def test_tied_to_two_nodes_any_of_them_will_do() -> None:
    assert buses(request("required:2", 0, 3), NODES) == [(1, 4)]


@pytest.mark.parametrize("text", ["gpu:1", "legacy:1", "socket:1"])
def test_the_node_itself_goes_first(text: str) -> None:
    assert buses(request(text, 1), NODES)[0] == (2,)


def test_then_one_near_or_without_node_then_any() -> None:
    assert buses(request("gpu:1", 1), NODES) == [(2,), (5,), (1,), (3,), (4,)]


def test_the_node_counts_before_waste() -> None:
    units = [unit(1, GPU, GPU, node=1), unit(2, node=0)]
    assert buses(request("gpu:1", 1), units)[0] == (1,)


def test_a_socket_is_known_from_units_that_cannot_be_had() -> None:
    units, taken = NODES[1:], NODES[:1]
    assert buses(request("socket:1", 0), units, taken) == [(2,)]
    assert buses(request("socket:1", 0), units) == []


def test_a_unit_of_unknown_socket_fits_on_its_own_node_alone() -> None:
    units = [unit(1, node=0), unit(2, node=1)]
    assert buses(request("socket:1", 0), units) == [(1,)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Cards 1 and 2 share a node, 3 is on its own.
        ("required:2", {(1, 2)}),
        ("required:3", set()),
        ("legacy:4", {(1, 2, 3, 4)}),
        ("gpu:4", {(1, 2, 3, 4)}),
        ("gpu:3", {(1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4)}),
    ],
)
def test_tied_to_no_node(text: str, expected: set[tuple[int, ...]]) -> None:
    # A switch each, so that all are told apart.
    units = [
        unit(1, node=0, switch=1),
        unit(2, node=0, switch=2),
        unit(3, node=1, switch=3),
        unit(4, node=None, switch=4),
    ]
    assert set(buses(request(text), units)) == expected


def test_sharing_a_node_is_preferred() -> None:
    units = [unit(1, node=0), unit(2, node=1), unit(3, node=1)]
    assert buses(request("gpu:2"), units) == [(2, 3), (1, 2)]


def test_required_aliases_share_one_node() -> None:
    near = request("required:1,required-nic:1")
    apart = [unit(1, node=0), unit(2, NIC, node=1)]
    assert buses(near, apart) == []
    assert buses(near, [*apart, unit(3, NIC, node=0)]) == [(1, 3)]


@pytest.mark.parametrize("text", ["required:1", "socket:1", "legacy:1"])
def test_one_card_is_near_to_itself(text: str) -> None:
    assert buses(request(text), [unit(1, node=None)]) == [(1,)]


def test_cards_without_node_share_none() -> None:
    units = [unit(1, node=None), unit(2, node=None)]
    assert buses(request("legacy:2"), units) == [(1, 2)]
    assert buses(request("required:2"), units) == []


def test_sharing_a_socket() -> None:
    assert buses(request("socket:2"), NODES) == [(1, 2), (3, 4)]
    assert buses(request("socket:3"), NODES) == []
    assert buses(request("socket:1"), NODES[4:]) == [(5,)]


def test_what_is_minimal_on_one_node_may_not_be_on_another() -> None:
    # With node 0 shared, 1 and 2 need a third for "any", and 3 would do;
    # with node 1 shared, 3 satisfies everything by itself.
    units = [
        unit(1, node=0),
        unit(2, NIC, node=0),
        unit(3, GPU, NIC, GPU, node=1),
    ]
    near = request("required:1,required-nic:1,any:1")
    assert buses(near, units) == [(3,)]


def allowed(text: str, *nodes: int) -> list[list[set[int | None]]]:
    """The nodes that each rule set allows for each item."""
    places = [NumaLocation(0, 0), NumaLocation(1, 0), NumaLocation(None, None)]
    rule_sets = affinity.rule_sets(request(text, *nodes), places, {0: 0, 1: 0})
    return [
        [{at.node for at in places if rule(at)} for rule in rules]
        for rules in rule_sets
    ]


def test_an_instance_tied_to_nodes_has_one_rule_set() -> None:
    assert allowed("required:1,legacy:1,gpu:1,socket:1", 0) == [
        [{0}, {0, None}, {0, 1, None}, {0, 1}]
    ]


def test_without_nodes_there_is_a_rule_set_for_each_common_place() -> None:
    assert allowed("required:2,gpu:1") == [
        [{0}, {0, 1, None}],
        [{1}, {0, 1, None}],
    ]
    assert allowed("socket:2") == [[{0, 1}]]
    assert allowed("required:1") == [[{0, 1, None}]]

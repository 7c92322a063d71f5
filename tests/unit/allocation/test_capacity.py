"""What hosts supply, and where a request makes a claim look."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.capacity import Card, Need, Place
from gpu_passthrough_plugin.model.unit import DeviceType
from tests.unit.allocation.build import GPU, NIC, NVIDIA, request, unit

GPU_CARD = Card(NVIDIA, GPU, DeviceType.PCI)
NIC_CARD = Card(NVIDIA, NIC, DeviceType.PCI)
BOTH = (GPU_CARD, NIC_CARD)


def test_primaries_are_counted_by_place() -> None:
    units = [unit(1, node=0), unit(2, GPU, NIC, node=1), unit(3, node=None)]
    assert capacity.count(units) == {
        (GPU_CARD, 0): 1,
        (GPU_CARD, 1): 1,
        (GPU_CARD, Place.NO_NODE): 1,
        (GPU_CARD, Place.ANYWHERE): 3,
        (GPU_CARD, Place.ONE_NODE): 1,
        (NIC_CARD, 1): 1,
        (NIC_CARD, Place.ANYWHERE): 1,
        (NIC_CARD, Place.ONE_NODE): 1,
    }


def test_what_is_there_and_not_free_counts_as_none() -> None:
    assert capacity.count([], [unit(1, node=1)]) == {
        (GPU_CARD, 1): 0,
        (GPU_CARD, Place.ANYWHERE): 0,
        (GPU_CARD, Place.ONE_NODE): 0,
    }
    assert capacity.count([]) == {}


@pytest.mark.parametrize(
    ("text", "nodes", "needs"),
    [
        ("gpu:1", (), [(Place.ANYWHERE, 1)]),
        ("gpu:3", (), [(Place.ONE_NODE, 3), (Place.ANYWHERE, 3)]),
        ("required:1", (), [(Place.ANYWHERE, 1)]),
        ("required:3", (), [(Place.ONE_NODE, 3)]),
        ("gpu:3", (0, 1), [(0, 3), (1, 3), (Place.ANYWHERE, 3)]),
        ("socket:2", (1,), [(1, 2), (Place.ANYWHERE, 2)]),
        ("required:3", (0,), [(0, 3)]),
        ("required:3", (0, 1), [(0, 3), (1, 3), (0, 2), (1, 2)]),
        ("legacy:1", (2,), [(2, 1), (Place.NO_NODE, 1)]),
        ("legacy:3", (2,), [(2, 3), (2, 2), (Place.NO_NODE, 2)]),
    ],
)
def test_where_to_look(
    text: str, nodes: tuple[int, ...], needs: list[tuple[int, int]]
) -> None:
    wanted = capacity.wanted(request(text, *nodes), BOTH)
    assert wanted is not None
    assert wanted.cards == (GPU_CARD,)
    assert list(wanted.needs) == [Need(*need) for need in needs]


def test_the_item_that_fewest_cards_satisfy_leads() -> None:
    wanted = capacity.wanted(request("any:5,nic:1,gpu:2"), BOTH)
    assert wanted is not None
    assert wanted.cards == (GPU_CARD,)
    assert wanted.others == (
        (tuple(sorted(BOTH)), 5),
        ((NIC_CARD,), 1),
    )


def test_what_no_host_has_is_looked_for_nowhere() -> None:
    assert capacity.wanted(request("gpu:1,nic:1"), [GPU_CARD]) is None

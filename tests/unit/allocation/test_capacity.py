"""What is counted of a host, and which hosts a request may fit on."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation import capacity
from gpu_passthrough_plugin.allocation.capacity import (
    DeviceModel,
    Place,
    Threshold,
)
from gpu_passthrough_plugin.model.unit import DeviceType
from tests.unit.allocation.build import GPU, NIC, NVIDIA, request, unit

GPU_MODEL = DeviceModel(NVIDIA, GPU, DeviceType.PCI)
NIC_MODEL = DeviceModel(NVIDIA, NIC, DeviceType.PCI)
BOTH = (GPU_MODEL, NIC_MODEL)


def test_primaries_are_counted_by_place() -> None:
    units = [unit(1, node=0), unit(2, GPU, NIC, node=1), unit(3, node=None)]
    assert capacity.count_free(units) == {
        (GPU_MODEL, 0): 1,
        (GPU_MODEL, 1): 1,
        (GPU_MODEL, Place.NO_NODE): 1,
        (GPU_MODEL, Place.ANYWHERE): 3,
        (GPU_MODEL, Place.ONE_NODE): 1,
        (NIC_MODEL, 1): 1,
        (NIC_MODEL, Place.ANYWHERE): 1,
        (NIC_MODEL, Place.ONE_NODE): 1,
    }


def test_what_is_there_and_not_free_counts_as_none() -> None:
    assert capacity.count_free([], [unit(1, node=1)]) == {
        (GPU_MODEL, 1): 0,
        (GPU_MODEL, Place.ANYWHERE): 0,
        (GPU_MODEL, Place.ONE_NODE): 0,
    }
    assert capacity.count_free([]) == {}


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
    host_filter = capacity.host_filter(request(text, *nodes), BOTH)
    assert host_filter is not None
    assert list(host_filter.thresholds) == [
        Threshold(GPU_MODEL, *need) for need in needs
    ]


def test_of_several_models_one_has_its_share() -> None:
    host_filter = capacity.host_filter(request("any:3"), BOTH)
    assert host_filter is not None
    assert list(host_filter.thresholds) == [
        Threshold(model, place, 2)
        for place in (Place.ONE_NODE, Place.ANYWHERE)
        for model in sorted(BOTH)
    ]


def test_the_item_that_fewest_models_satisfy_leads() -> None:
    host_filter = capacity.host_filter(request("any:5,nic:1,gpu:2"), BOTH)
    assert host_filter is not None
    assert {t.model for t in host_filter.thresholds} == {GPU_MODEL}
    assert host_filter.others == (
        (tuple(sorted(BOTH)), 5),
        ((NIC_MODEL,), 1),
    )


def test_what_no_host_has_is_looked_for_nowhere() -> None:
    assert capacity.host_filter(request("gpu:1,nic:1"), [GPU_MODEL]) is None

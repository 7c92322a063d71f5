"""Where the boxes of a picture go."""

from __future__ import annotations

import itertools

import pytest

from gpu_passthrough_plugin.picture.host_picture import HostPicture
from gpu_passthrough_plugin.picture.layout import Box, layout, lines
from tests.trees.host import Host
from tests.trees.hosts import HOSTS
from tests.unit.picture.build import drawn, large


def require_apart(box: Box) -> None:
    """Each box is in the one around it, and no two of them overlap."""
    for inside in box.inside:
        assert box.x < inside.x and box.y < inside.y
        assert inside.x + inside.width < box.x + box.width
        assert inside.y + inside.height < box.y + box.height
        require_apart(inside)
    for one, other in itertools.combinations(box.inside, 2):
        assert (
            one.x + one.width <= other.x
            or other.x + other.width <= one.x
            or one.y + one.height <= other.y
            or other.y + other.height <= one.y
        ), (one.content, other.content)


@pytest.mark.parametrize("name", [*sorted(HOSTS), "large"])
def test_nothing_overlaps(name: str) -> None:
    host: Host = large() if name == "large" else HOSTS[name]()
    placed = layout(drawn(host))
    node = placed.boxes[0].content
    size = placed.width + 2, placed.height + 2
    require_apart(Box(-1, -1, *size, node, placed.boxes))


def test_a_host_without_functions() -> None:
    placed = layout(HostPicture("Host h", ()))
    assert placed.boxes == () and placed.height == 0


def test_a_reason_has_up_to_three_lines() -> None:
    assert lines("", 200) == ()
    assert lines("short", 200) == ("short",)
    wrapped = lines("word " * 100, 200)
    assert len(wrapped) == 3
    assert wrapped[-1].endswith("…")
    assert lines("x" * 1000, 10)[0]

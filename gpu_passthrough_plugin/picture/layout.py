"""Where the boxes of a host's picture go: nested, in rows, without overlap.

All lengths are in CSS pixels at full size.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
    NodePicture,
)

WIDTH = 1240.0
"""Of the whole picture; no box is wider than its contents need."""
CHIP_WIDTH, CHIP_HEIGHT, SMALL_HEIGHT = 236.0, 62.0, 26.0
"""Of a function: one that guests may get, and any other one."""
HEADER, LINE = 24.0, 16.0
CHARACTER = 6.8
"""Of most sans-serif fonts' wider characters, at 12 pixels."""
_GAP, _PADDING = 10.0, 10.0
_MAX_LINES = 3

Content = NodePicture | BridgePicture | GroupPicture | FunctionPicture


class Box(NamedTuple):
    """A rectangle with what it shows.

    :param x: of its left edge, from that of the picture.
    :param y: of its upper edge.
    :param inside: the boxes within it, each of them wholly.
    """

    x: float
    y: float
    width: float
    height: float
    content: Content
    inside: tuple[Box, ...] = ()


class Layout(NamedTuple):
    """The boxes of a host's nodes, and the size of all of them."""

    width: float
    height: float
    boxes: tuple[Box, ...]


def layout(host: HostPicture) -> Layout:
    """Return where everything in a picture goes."""
    boxes = []
    y = 0.0
    for node in host.nodes:
        box = _moved(_container(node, node.items, WIDTH), 0.0, y)
        # Nodes are as wide as the picture: they stand below one another.
        boxes.append(box._replace(width=WIDTH))
        y += box.height + _GAP
    return Layout(WIDTH, max(y - _GAP, 0.0), tuple(boxes))


def is_small(function: FunctionPicture) -> bool:
    """Return whether a function is shown in one line: no guest gets it."""
    return not function.is_primary and function.kind not in (
        "display",
        "accelerator",
        "NVSwitch",
    )


def _box(content: Content, most: float) -> Box:
    """Return a box at the origin, up to ``most`` wide if that is possible."""
    if isinstance(content, FunctionPicture):
        height = SMALL_HEIGHT if is_small(content) else CHIP_HEIGHT
        return Box(0.0, 0.0, CHIP_WIDTH, height, content)
    return _container(content, content.items, most)


def _container(
    content: NodePicture | BridgePicture | GroupPicture,
    items: Sequence[Content],
    most: float,
) -> Box:
    """Return a box around its items, which are put in rows."""
    room = max(most - 2 * _PADDING, CHIP_WIDTH)
    if isinstance(content, GroupPicture):
        # The functions of a group stand below one another, as on a card.
        room = CHIP_WIDTH if _is_card(content) else room
    boxes = _rows([_box(item, room) for item in items], room)
    width = max((b.x + b.width for b in boxes), default=CHIP_WIDTH)
    width = max(width, CHIP_WIDTH)
    height = max((b.y + b.height for b in boxes), default=-_PADDING)
    top = HEADER + _PADDING
    if isinstance(content, GroupPicture):
        top += LINE * len(lines(content.detail, width))
    return Box(
        0.0,
        0.0,
        width + 2 * _PADDING,
        top + height + _PADDING,
        content,
        tuple(_moved(b, _PADDING, top) for b in boxes),
    )


def lines(text: str, width: float) -> tuple[str, ...]:
    """Return a text in up to three lines that fit a width."""
    if not text:
        return ()
    return tuple(
        textwrap.wrap(
            text,
            max(int(width / CHARACTER), 8),
            max_lines=_MAX_LINES,
            placeholder="…",
        )
    )


def _is_card(group: GroupPicture) -> bool:
    return len(group.items) <= 6 and not any(
        isinstance(item, BridgePicture) for item in group.items
    )


def _rows(boxes: Sequence[Box], room: float) -> list[Box]:
    """Return boxes side by side, in as many columns as have room.

    Each goes to where it ends highest, so that small boxes fill the space
    beside tall ones.
    """
    placed: list[Box] = []
    # The lower edge of what is placed, over each span of the width.
    spans: list[tuple[float, float, float]] = [(0.0, room, 0.0)]
    for box in boxes:
        width = min(box.width, room) if box.width > room else box.width
        x, y = _spot(spans, width, max(room, box.width))
        placed.append(_moved(box, x, y))
        spans = _covered(spans, x, x + box.width + _GAP, y + box.height + _GAP)
    return placed


def _spot(
    spans: Sequence[tuple[float, float, float]], width: float, room: float
) -> tuple[float, float]:
    """Return the highest place for a box, the leftmost of several."""
    best = (float("inf"), 0.0)
    for left, _, _ in spans:
        if left and left + width > room:
            continue
        below = max(
            (
                y
                for first, last, y in spans
                if first < left + width and last > left
            ),
            default=0.0,
        )
        best = min(best, (below, left))
    return best[1], best[0]


def _covered(
    spans: Sequence[tuple[float, float, float]],
    left: float,
    right: float,
    bottom: float,
) -> list[tuple[float, float, float]]:
    """Return spans of which those from left to right reach to ``bottom``."""
    covered = [(left, right, bottom)]
    for first, last, y in spans:
        if first < left:
            covered.append((first, min(last, left), y))
        if last > right:
            covered.append((max(first, right), last, y))
    return sorted(covered)


def _moved(box: Box, x: float, y: float) -> Box:
    return box._replace(
        x=box.x + x,
        y=box.y + y,
        inside=tuple(_moved(b, x, y) for b in box.inside),
    )

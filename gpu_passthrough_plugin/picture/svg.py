"""A host's picture as SVG: one file that needs nothing else.

Texts of hosts are strangers': they are escaped, cut to their box, and whole
in each box's ``<title>``.  Source: W3C, SVG 2; WAI-ARIA Graphics Module 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lxml import etree

from gpu_passthrough_plugin.model.reading import printable
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
    Mark,
    NodePicture,
)
from gpu_passthrough_plugin.picture.layout import (
    CHARACTER,
    HEADER,
    LINE,
    Box,
    is_small,
    layout,
    lines,
)

_SVG = "http://www.w3.org/2000/svg"
_MARGIN, _TOP, _LINE = 16.0, 56.0, 22.0
# Widths of a character at 12 pixels, also of one in a monospaced font.
_SANS, _MONO = CHARACTER, 7.3
_BOLD = 7.8
_WIDTHS = {"mono": _MONO, "h2": _BOLD}
_INSET = 10.0
_CUT = "…"

# Each mark has a shape of its own, for paper and for who sees no colours.
_SHAPES = {
    Mark.NOT_SELECTED: "M-5,-1H5V1H-5Z",
    Mark.SELECTED: "M-5,5L0,-5L5,5ZM-2,3.2H2L0,-1Z",
    Mark.PENDING: "M-5,5L0,-5L5,5Z",
    Mark.READY: "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0ZM-3,0A3,3 0 1 1 3,0"
    "A3,3 0 1 1 -3,0Z",
    Mark.FREE: "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z",
    Mark.HELD: "M-5,-5H5V5H-5Z",
    Mark.QUARANTINED: "M-5,-3L-3,-5L0,-2L3,-5L5,-3L2,0L5,3L3,5L0,2L-3,5L-5,3"
    "L-2,0Z",
    Mark.KEPT: "M0,-6L6,0L0,6L-6,0Z",
}

# Every colour stands for itself: viewers of images know no CSS variables.
_BASE = """
.host{font:12px system-ui,"Liberation Sans",sans-serif}
.h1{font-size:20px;font-weight:600}
.h2{font-weight:600}
.mono{font-family:ui-monospace,"Liberation Mono",monospace}
.bridge>rect{fill:none;stroke-width:1.5}
.group>rect{fill:none;stroke-width:2}
.not-selected>rect{stroke-width:1;stroke-dasharray:2 3}
.selected>rect,.pending>rect{stroke-dasharray:7 4}
.quarantined>rect{stroke-width:3}
.kept>rect{stroke-dasharray:12 3 2 3}
.dim{opacity:.2}
.group:focus-visible>rect{stroke-width:5}
.host g:focus{outline:none}
"""


class _Palette(NamedTuple):
    """Colours for one kind of screen, or for paper."""

    paper: str
    ink: str
    soft: str
    line: str
    node: str
    marks: tuple[str, ...]

    def style(self) -> str:
        """Return the rules of these colours."""
        rules = [
            f".paper,.chip>rect{{fill:{self.paper}}}",
            f".host text{{fill:{self.ink}}}",
            f".host .soft{{fill:{self.soft}}}",
            f".node>rect{{fill:{self.node};stroke:{self.line}}}",
            f".bridge>rect,.chip>rect{{stroke:{self.line}}}",
        ]
        for mark, colour in zip(Mark, self.marks, strict=True):
            kind = mark_class(mark)
            rules.append(f".{kind}>rect{{stroke:{colour}}}")
            rules.append(
                f".{kind}>.mark,.host .{kind}>.detail{{fill:{colour}}}"
            )
        return "\n".join(rules) + "\n"


def mark_class(mark: Mark) -> str:
    """Return the CSS class of a mark, such as ``not-selected``."""
    return mark.name.lower().replace("_", "-")


# In the order of ``Mark``; each is readable on its paper (4.5 to 1).
_AMBER, _GREEN = "#8a5a00", "#1a7f4b"
_LIGHT = _Palette(
    "#ffffff",
    "#1c2430",
    "#5a6675",
    "#c3ccd6",
    "#f4f6f8",
    (
        *("#5f6a76", _AMBER, _AMBER, _GREEN, _GREEN),
        *("#1f5fbf", "#b3261e", "#6d3fa0"),
    ),
)
_DARK = _Palette(
    "#232b35",
    "#e6ebf1",
    "#a3b0bf",
    "#4a5664",
    "#1a2028",
    (
        *("#a3b0bf", "#e0b050", "#e0b050", "#5fd39a", "#5fd39a"),
        *("#86b4ff", "#ff8f86", "#c8a2ff"),
    ),
)
STYLE = (
    _BASE
    + _LIGHT.style()
    + f"@media (prefers-color-scheme:dark){{\n{_DARK.style()}}}\n"
    + f"@media print{{\n{_LIGHT.style()}}}\n"
)


def svg(host: HostPicture) -> str:
    """Return the picture as a document of its own."""
    return etree.tostring(element(host), encoding="unicode") + "\n"


def element(host: HostPicture) -> etree._Element:
    """Return the picture as an ``<svg>`` element."""
    placed = layout(host)
    present = marks(host)
    notes = len(host.notes) + 1
    width = placed.width + 2 * _MARGIN
    height = _TOP + placed.height + _MARGIN + (notes + 0.5) * _LINE
    root = etree.Element(
        f"{{{_SVG}}}svg",
        {
            "class": "host",
            "viewBox": f"0 0 {width:g} {height:g}",
            "width": f"{width:g}",
            "height": f"{height:g}",
            "role": "graphics-document",
            "aria-label": printable(host.title),
        },
        nsmap={None: _SVG},  # type: ignore[dict-item]
    )
    _child(root, "title").text = printable(host.title)
    _child(root, "style").text = STYLE
    _rect(root, 0, 0, width, height, 0).set("class", "paper")
    _text(root, _MARGIN, 34, host.title, "h1", placed.width / 1.7)
    groups = list(_groups(host))
    ready = sum(g.mark in (Mark.READY, Mark.FREE) for g in groups)
    summary = f"{len(groups)} groups, {ready} of them ready for guests"
    _text(root, _MARGIN, 50, summary, "soft", placed.width)
    body = _child(root, "g")
    body.set("transform", f"translate({_MARGIN:g} {_TOP:g})")
    for box in placed.boxes:
        _draw(body, box)
    y = _TOP + placed.height + _MARGIN + _LINE / 2
    _legend(root, present, y)
    for number, note in enumerate(host.notes, 1):
        _text(root, _MARGIN, y + number * _LINE, note, "soft", placed.width)
    return root


def marks(host: HostPicture) -> tuple[Mark, ...]:
    """Return the states that groups of a host are in."""
    present = {group.mark for group in _groups(host)}
    return tuple(mark for mark in Mark if mark in present)


def describe(group: GroupPicture) -> str:
    """Return a group in one line, as it is read out."""
    functions = ", ".join(
        f"{f.address} {f.name}".strip() for f in _functions(group)
    )
    detail = f" ({group.detail})" if group.detail else ""
    return printable(f"{title(group)}: {group.mark}{detail}: {functions}")


def title(group: GroupPicture) -> str:
    """Return what a group is called."""
    if group.number is None:
        return "no IOMMU group"
    if group.more:
        return f"groups {group.number} to {group.more[-1]}"
    return f"group {group.number}"


def _draw(parent: etree._Element, box: Box) -> None:
    content = box.content
    if isinstance(content, FunctionPicture):
        _chip(parent, box, content)
        return
    if isinstance(content, NodePicture):
        g = _area(parent, box, "node", content.title)
        _heading(g, box, content.title, 0)
    elif isinstance(content, BridgePicture):
        function = content.function
        group = ""
        if content.group is not None:
            group = f"(group {content.group}) "
        name = f"{function.address} {group}{function.name}"
        g = _area(parent, box, "bridge", name)
        label = f"{_short(function.address)} {group}{function.label}"
        _heading(g, box, label, 0)
    else:
        g = _area(
            parent, box, f"group {mark_class(content.mark)}", describe(content)
        )
        g.set("tabindex", "0")
        _mark(g, content.mark, box.x + 16, box.y + HEADER / 2 + 2)
        _heading(g, box, title(content), 18)
        _detail(g, box, content)
    for inside in box.inside:
        _draw(g, inside)


def _area(
    parent: etree._Element, box: Box, kind: str, name: str
) -> etree._Element:
    g = _child(parent, "g")
    g.set("class", kind)
    g.set("role", "graphics-object")
    g.set("aria-label", printable(name))
    _child(g, "title").text = printable(name)
    _rect(g, box.x, box.y, box.width, box.height, 8)
    return g


def _heading(g: etree._Element, box: Box, text: str, indent: float) -> None:
    _text(
        g,
        box.x + 10 + indent,
        box.y + HEADER / 2 + 6,
        text,
        "h2",
        box.width - 20 - indent,
    )


def _detail(g: etree._Element, box: Box, group: GroupPicture) -> None:
    """Write a group's state beside its name, and the reason below it."""
    start = box.x + 32 + _BOLD * len(title(group))
    room = box.x + box.width - start - 8
    _text(g, start, box.y + HEADER / 2 + 6, group.mark, "detail", room)
    room = box.width - 2 * _INSET
    for number, line in enumerate(lines(printable(group.detail), room)):
        y = box.y + HEADER + (number + 0.6) * LINE
        _text(g, box.x + _INSET, y, line, "detail", room + _SANS)


def _chip(parent: etree._Element, box: Box, function: FunctionPicture) -> None:
    name = " ".join(
        (function.address, function.name, *function.facts, *function.folded)
    )
    g = _area(parent, box, "chip", name)
    room = box.width - 16
    address = _short(function.address)
    more = f" and {len(function.folded)} more" if function.folded else ""
    baseline = box.y + (17 if is_small(function) else 18)
    _text(g, box.x + 8, baseline, address, "mono", room)
    used = _MONO * len(address) + 10
    beside = function.kind
    if is_small(function):
        beside = function.label or function.kind
    left = box.x + 8 + used
    _text(g, left, baseline, f"{beside}{more}", "soft", room - used)
    if is_small(function):
        return
    _text(g, box.x + 8, box.y + 35, function.label or "unknown", "", room)
    facts = " · ".join(function.facts)
    _text(g, box.x + 8, box.y + 52, facts, "soft", room)


def _legend(root: etree._Element, present: tuple[Mark, ...], y: float) -> None:
    x = _MARGIN + 6
    for mark in present:
        g = _child(root, "g")
        g.set("class", mark_class(mark))
        _mark(g, mark, x, y)
        _text(g, x + 12, y + 4, mark, "soft", 200)
        x += 34 + _SANS * len(mark)


def _mark(g: etree._Element, mark: Mark, x: float, y: float) -> None:
    path = _child(g, "path")
    path.set("class", "mark")
    path.set("d", _SHAPES[mark])
    path.set("transform", f"translate({x:g} {y:g})")


def _functions(group: GroupPicture) -> Iterator[FunctionPicture]:
    for item in group.items:
        if isinstance(item, FunctionPicture):
            yield item
        else:
            yield item.function


def _groups(host: HostPicture) -> Iterator[GroupPicture]:
    for node in host.nodes:
        yield from _groups_in(node)


def _groups_in(
    content: NodePicture | BridgePicture | GroupPicture,
) -> Iterator[GroupPicture]:
    for item in content.items:
        if isinstance(item, FunctionPicture):
            continue
        if isinstance(item, GroupPicture):
            yield item
        yield from _groups_in(item)


def _short(address: str) -> str:
    """Return an address without the domain that most hosts have alone."""
    return address.removeprefix("0000:")


def _cut(text: str, room: float, character: float) -> str:
    text = printable(text)
    most = max(int(room / character), 1)
    return text if len(text) <= most else text[: most - 1] + _CUT


def _child(parent: etree._Element, tag: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_SVG}}}{tag}")


def _rect(
    parent: etree._Element,
    x: float,
    y: float,
    width: float,
    height: float,
    radius: float,
) -> etree._Element:
    rect = _child(parent, "rect")
    for name, value in (
        ("x", x),
        ("y", y),
        ("width", width),
        ("height", height),
        ("rx", radius),
    ):
        rect.set(name, f"{value:g}")
    return rect


def _text(
    parent: etree._Element,
    x: float,
    y: float,
    text: str,
    kind: str,
    room: float,
) -> None:
    """Write a line of text that is at most ``room`` wide."""
    if not text or room < 2 * _SANS:
        return
    line = _child(parent, "text")
    if kind:
        line.set("class", kind)
    line.set("x", f"{x:g}")
    line.set("y", f"{y:g}")
    line.text = _cut(text, room, _WIDTHS.get(kind, _SANS))

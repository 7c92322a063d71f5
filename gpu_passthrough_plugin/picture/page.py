"""A host's picture as one HTML page: with a table, a search and filters.

The page asks for nothing outside itself: its policy allows its own style and
script by their digests, and nothing else.  Source: W3C, Content Security
Policy Level 3; WCAG 2.2.
"""

from __future__ import annotations

import base64
import hashlib

from lxml import etree

from gpu_passthrough_plugin.model.reading import printable
from gpu_passthrough_plugin.picture import svg
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
)

_STYLE = """
body{font:14px system-ui,"Liberation Sans",sans-serif;margin:16px;
color:#1c2430;background:#fff}
form{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center;
margin:0 0 12px}
input[type=search]{font:inherit;padding:4px 8px;min-width:16em}
.scroll{overflow:auto}
.scroll svg{max-width:100%;height:auto;min-width:900px}
table{border-collapse:collapse;margin-top:16px;width:100%}
th,td{text-align:left;vertical-align:top;padding:4px 10px 4px 0;
border-bottom:1px solid #c3ccd6}
td:first-child{white-space:nowrap}
@media (prefers-color-scheme:dark){body{color:#e6ebf1;background:#12161c}
th,td{border-color:#4a5664}}
@media print{form{display:none}body{color:#000;background:#fff}}
"""
_SCRIPT = """
"use strict";
const search = document.getElementById("search");
const boxes = [...document.querySelectorAll("input[type=checkbox]")];
const count = document.getElementById("count");
const rows = [...document.querySelectorAll("tbody tr")];
const groups = [...document.querySelectorAll("g.group")];
function matches(text, kind) {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const marks = boxes.filter((box) => box.checked).map((box) => box.value);
  return words.every((word) => text.includes(word)) &&
    (!kind || marks.includes(kind));
}
function update() {
  let shown = 0;
  for (const row of rows) {
    const is = matches(row.textContent.toLowerCase(), row.dataset.mark);
    row.hidden = !is;
    shown += is ? 1 : 0;
  }
  for (const group of groups) {
    const text = group.getAttribute("aria-label").toLowerCase();
    const kind = [...group.classList].find((name) => name !== "group" &&
      name !== "dim");
    group.classList.toggle("dim", !matches(text, kind));
  }
  count.textContent = `${shown} of ${rows.length} functions`;
}
search.addEventListener("input", update);
for (const box of boxes) box.addEventListener("change", update);
document.querySelector("form").addEventListener("submit", (event) =>
  event.preventDefault());
update();
"""
_COLUMNS = ("Address", "Name", "Group", "State", "NUMA node", "Facts")


def page(host: HostPicture) -> str:
    """Return the page as a document."""
    html = etree.Element("html", {"lang": "en"})
    head = etree.SubElement(html, "head")
    etree.SubElement(head, "meta", {"charset": "utf-8"})
    policy = (
        f"default-src 'none'; style-src {_digest(_STYLE)}"
        f" {_digest(svg.STYLE)}; script-src {_digest(_SCRIPT)};"
        " base-uri 'none'; form-action 'none'"
    )
    etree.SubElement(
        head,
        "meta",
        {"http-equiv": "Content-Security-Policy", "content": policy},
    )
    etree.SubElement(
        head,
        "meta",
        {"name": "viewport", "content": "width=device-width"},
    )
    etree.SubElement(head, "title").text = printable(host.title)
    etree.SubElement(head, "style").text = _STYLE
    body = etree.SubElement(html, "body")
    main = etree.SubElement(body, "main")
    _controls(main, host)
    scroll = etree.SubElement(
        main,
        "div",
        {"class": "scroll", "role": "region", "aria-label": "Picture"},
    )
    scroll.set("tabindex", "0")
    scroll.append(svg.element(host))
    _table(main, host)
    etree.SubElement(body, "script").text = _SCRIPT
    text: str = etree.tostring(
        html, encoding="unicode", method="html", doctype="<!DOCTYPE html>"
    )
    return f"{text}\n"


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _controls(main: etree._Element, host: HostPicture) -> None:
    etree.SubElement(main, "h1").text = printable(host.title)
    form = etree.SubElement(main, "form", {"role": "search"})
    label = etree.SubElement(form, "label")
    label.text = "Search "
    etree.SubElement(label, "input", {"type": "search", "id": "search"})
    for mark in svg.marks(host):
        label = etree.SubElement(form, "label")
        box = etree.SubElement(
            label,
            "input",
            {"type": "checkbox", "value": svg.mark_class(mark)},
        )
        box.set("checked", "checked")
        box.tail = f" {mark}"
    etree.SubElement(form, "output", {"id": "count", "for": "search"})


def _table(main: etree._Element, host: HostPicture) -> None:
    """Write every function in words: what a picture cannot say to all."""
    table = etree.SubElement(main, "table")
    etree.SubElement(table, "caption").text = "Functions of this host"
    head = etree.SubElement(etree.SubElement(table, "thead"), "tr")
    for column in _COLUMNS:
        etree.SubElement(head, "th", {"scope": "col"}).text = column
    body = etree.SubElement(table, "tbody")
    for node in host.nodes:
        for item in node.items:
            _rows(body, item, node.title, None)


def _rows(
    body: etree._Element,
    item: GroupPicture | BridgePicture | FunctionPicture,
    node: str,
    group: GroupPicture | None,
) -> None:
    if isinstance(item, FunctionPicture):
        _row(body, item, node, group)
        return
    if isinstance(item, GroupPicture):
        group = item
    elif group is not None and item.group == group.number:
        _row(body, item.function, node, group)
    else:
        _row(body, item.function, node, None, item.group)
    for inside in item.items:
        _rows(body, inside, node, group)


def _row(
    body: etree._Element,
    function: FunctionPicture,
    node: str,
    group: GroupPicture | None,
    number: int | None = None,
) -> None:
    row = etree.SubElement(body, "tr")
    state, place = "", "" if number is None else str(number)
    if group is not None:
        state = f"{group.mark}: {group.detail}" if group.detail else group.mark
        place = svg.title(group).removeprefix("group ")
        # A bridge is in no area, and never filtered out.
        row.set("data-mark", svg.mark_class(group.mark))
    addresses = function.address
    if function.folded:
        addresses += f" and {len(function.folded)} more"
    for text in (
        addresses,
        function.name,
        place,
        state,
        node.removeprefix("NUMA node "),
        ", ".join(function.facts),
    ):
        etree.SubElement(row, "td").text = printable(text)

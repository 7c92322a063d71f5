"""What each format of a picture has, also with names of strangers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from lxml import etree, html

from gpu_passthrough_plugin.picture import document, page, svg
from gpu_passthrough_plugin.picture.host_picture import HostPicture, Mark
from tests.trees import hosts
from tests.trees.seed import seed
from tests.unit.picture.build import addresses, drawn, groups

HOSTILE = (
    "</title><script>alert(1)</script>",
    '\u202eevil & "quoted" <b> \x1b[31m ' + "x" * 255,
)
NS = {"s": "http://www.w3.org/2000/svg"}


def found(root: Any, path: str) -> Any:
    return root.xpath(path, namespaces=NS)


def test_json_has_everything() -> None:
    picture = drawn(seed())
    values = json.loads(document.text(picture, "json"))
    assert values["version"] == document.VERSION
    text = json.dumps(values)
    for address in addresses(picture):
        assert f'"{address}"' in text
    node = values["nodes"][1]["items"][0]
    assert (node["type"], node["address"]) == ("bridge", "0000:80:02.0")
    group = node["items"][0]
    assert (group["type"], group["number"]) == ("group", 38)
    assert group["state"] == Mark.READY
    assert group["items"][0]["is_primary"]


def test_each_group_of_the_svg_is_named_and_reached_by_keyboard() -> None:
    picture = drawn(seed())
    root = etree.fromstring(document.text(picture, "svg").encode())
    areas = found(root, "//s:g[contains(@class, 'group')]")
    assert len(areas) == len(groups(picture))
    for area in areas:
        assert area.get("tabindex") == "0"
        name = found(area, "string(s:title)")
        assert name == area.get("aria-label")
        assert re.match(r"group \d+: ", name)
        # A shape besides the colour.
        assert found(area, "s:path[@class='mark']")
    assert not found(root, "//s:script | //s:image")
    # Only those states are explained that there are.
    legend = found(root, "s:g[s:path]/s:text/text()")
    assert legend == [str(mark) for mark in svg.marks(picture)]


@pytest.mark.parametrize("suffix", ["svg", "html", "json"])
def test_names_of_strangers_are_shown_and_do_no_harm(suffix: str) -> None:
    picture = drawn(seed(), name=HOSTILE, title=HOSTILE[1])
    picture = picture._replace(notes=(HOSTILE[0],))
    text = document.text(picture, suffix)
    assert "\u202e" not in text and "\x1b" not in text
    if suffix == "json":
        return
    assert "<script>alert" not in text
    root = (
        etree.fromstring(text.encode())
        if suffix == "svg"
        else html.document_fromstring(text)
    )
    titles = found(root, "//*[local-name()='title']/text()")
    assert any("<script>alert(1)</script>" in title for title in titles)


def test_the_page_allows_its_own_style_and_script_alone() -> None:
    root = html.document_fromstring(document.text(drawn(seed()), "html"))
    (policy,) = found(root, "//meta[@http-equiv]/@content")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    inline = found(root, "//*[local-name()='style' or local-name()='script']")
    assert len(inline) == 3
    for element in inline:
        digest = hashlib.sha256(element.text.encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert not found(root, "//@src | //@href | //@style | //@onclick")


def test_the_table_has_every_function_in_words() -> None:
    picture = drawn(hosts.shared_group())
    root = html.document_fromstring(page.page(picture))
    rows = found(root, "//tbody/tr")
    assert [found(row, "string(td[1])") for row in rows] == addresses(picture)
    (held,) = [r for r in rows if found(r, "string(td[1])") == "0000:05:01.0"]
    assert found(held, "string(td[3])") == "20"
    assert held.get("data-mark") == svg.mark_class(groups(picture)[20].mark)


def test_an_empty_host_has_a_page() -> None:
    picture = HostPicture("Host h", ())
    for suffix in ("svg", "html", "json"):
        assert "Host h" in document.text(picture, suffix)

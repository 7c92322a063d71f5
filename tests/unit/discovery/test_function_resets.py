"""What sysfs has of resets, on described hosts."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import (
    function_health,
    function_resets,
)
from gpu_passthrough_plugin.discovery import (
    functions as discovery,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function_health import NO_LINK
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees.host import Host

GPU = address.parse("06:00.0")


def card(**more: str) -> Host:
    host = Host()
    host.function("0000:00:01.0", "8086:0000", "060400", below="0000:06")
    for place, node in (("0000:06:00.0", 18), ("0000:06:00.1", 19)):
        host.function(
            place, "10de:1430", "030000", under="0000:00:01.0", group=node,
            more={**more, "reset": ""},
        )  # fmt: skip
    host.function("0000:07:00.0", "10de:1430", "030000")
    return host


@pytest.mark.parametrize(
    ("speed", "width", "link"),
    [
        ("16.0 GT/s PCIe\n", "16\n", "16.0 GT/s x16"),
        ("8.0 GT/s\n", "8\n", "8.0 GT/s x8"),
        ("Unknown\n", "255\n", "unknown speed unknown width"),
        ("Unknown speed\n", "0\n", "unknown speed x0"),
    ],
)
def test_a_link(speed: str, width: str, link: str) -> None:
    host = card(current_link_speed=speed, current_link_width=width)
    health = function_health.state(host.tree(), GPU).health
    assert str(health.link) == link


def test_a_function_without_a_link_and_one_that_is_gone() -> None:
    state = function_health.state(card().tree(), GPU)
    assert state.health.link == NO_LINK
    assert isinstance(state.bars, tuple) and len(state.bars) == 6
    gone = function_health.state(card().tree(), address.parse("08:00.0"))
    assert isinstance(gone.bars, Unknown)
    cut = card(config="short")
    assert isinstance(function_health.state(cut.tree(), GPU).bars, Unknown)


def test_whether_a_function_and_its_kernel_have_resets() -> None:
    tree = card().tree()
    functions = discovery.functions(tree)
    assert function_resets.has_reset(tree, GPU)
    assert not function_resets.has_reset(tree, address.parse("07:00.0"))
    assert not function_resets.tells_methods(tree, functions)
    tree = card(reset_method="flr bus\n").tree()
    assert function_resets.tells_methods(tree, functions)


def test_what_is_below_the_same_bridge_is_in_any_group() -> None:
    tree = card().tree()
    functions = discovery.functions(tree)
    by_address = {function.address: function for function in functions}
    below = function_resets.below_same_bridge(tree, by_address[GPU], functions)
    assert [str(f.address) for f in below] == ["0000:06:00.0", "0000:06:00.1"]
    alone = by_address[address.parse("07:00.0")]
    assert function_resets.below_same_bridge(tree, alone, functions) == ()

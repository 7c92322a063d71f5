"""What sysfs shows of a function's health, on described hosts."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import function_health, recorded_tree
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    AerCounters,
    FunctionHealth,
    LinkMaximum,
    maximum_shown,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.trees import installed
from tests.trees.host import Host

GPU = address.parse("06:00.0")
LINK = {
    "current_link_speed": "2.5 GT/s PCIe\n",
    "current_link_width": "8\n",
    "max_link_speed": "32.0 GT/s PCIe\n",
    "max_link_width": "16\n",
}
PORT = {"max_link_speed": "16.0 GT/s PCIe\n", "max_link_width": "8\n"}
AWAKE = {"power_state": "D0\n", "power/runtime_status": "active\n"}
ASLEEP = {"power_state": "D3hot\n", "power/runtime_status": "suspended\n"}
ERRORS = {
    "aer_dev_correctable": "RxErr 2\nBadTLP 0\nTOTAL_ERR_COR 2\n",
    "aer_dev_nonfatal": "UnsupReq 1\nTOTAL_ERR_NONFATAL 1\n",
    "aer_dev_fatal": "DLP 0\nTOTAL_ERR_FATAL 0\n",
}


def host(more: dict[str, str], port: dict[str, str] | None = None) -> Host:
    described = Host()
    described.function(
        "0000:00:01.0", "8086:0000", "060400", below="0000:06",
        more=PORT if port is None else port,
    )  # fmt: skip
    described.function(
        "0000:06:00.0", "10de:1430", "030000", under="0000:00:01.0",
        more=more, driver="vfio-pci", group=18,
    )  # fmt: skip
    described.function("0000:07:00.0", "10de:1430", "030000", more=more)
    return described


def read(
    more: dict[str, str],
    port: dict[str, str] | None = None,
    *,
    may_wake: bool = False,
) -> FunctionHealth:
    tree = host(more, port).tree()
    return function_health.health(tree, GPU, may_wake=may_wake)


def test_a_card_in_a_slot_with_fewer_lanes() -> None:
    """Its speed now is what an idle card has: no fault of either."""
    health = read(LINK | AWAKE | ERRORS)
    assert (health.link.speed_gts, health.link.width) == (2.5, 8)
    assert (health.link.max_speed_gts, health.link.max_width) == (32.0, 16)
    assert health.port == LinkMaximum(16.0, 8)
    assert maximum_shown(health.reachable) == "16.0 GT/s x8"
    assert (health.power_state, health.runtime_status) == ("D0", "active")
    assert health.correctable == AerCounters({"RxErr": 2, "BadTLP": 0}, 2)
    assert health.nonfatal == AerCounters({"UnsupReq": 1}, 1)
    assert health.fatal == AerCounters({"DLP": 0}, 0)
    assert not health.is_dead


def test_the_maximum_is_that_of_the_end_which_is_known() -> None:
    assert maximum_shown(read(LINK, port={}).reachable) == "32.0 GT/s x16"
    own = {k: v for k, v in LINK.items() if k.startswith("current")}
    assert maximum_shown(read(own).reachable) == "16.0 GT/s x8"
    tree = host(LINK).tree()
    alone = function_health.health(tree, address.parse("07:00.0"))
    assert alone.port is None
    assert alone.reachable == alone.link


class Reads:
    """A tree that notes what is read of it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.names: list[str] = []

    def gather(self, folder: str, files: object, links: object = ()) -> object:
        self.names += files  # type: ignore[arg-type]
        return self._tree.gather(folder, files, links)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._tree, name)


def test_a_suspended_function_is_not_woken() -> None:
    """Linux resumes it for its link; its counters the kernel has at hand."""
    tree = Reads(host(LINK | ASLEEP | ERRORS).tree())
    health = function_health.health(tree, GPU)  # type: ignore[arg-type]
    assert not any("link" in name or name == "config" for name in tree.names)
    assert isinstance(health.link.width, Unknown)
    assert isinstance(health.link.speed_gts, Unknown)
    assert health.runtime_status == "suspended"
    assert isinstance(health.correctable, AerCounters)
    woken = read(LINK | ASLEEP, may_wake=True)
    assert woken.link.width == 8


def test_a_link_that_reads_all_ones_is_of_a_dead_function() -> None:
    dead = {"current_link_speed": "Unknown\n", "current_link_width": "63\n"}
    health = read(LINK | AWAKE | dead)
    assert health.is_dead
    assert isinstance(health.link.width, Unknown)


def test_odd_texts_are_unknown() -> None:
    for odd in (
        {"current_link_speed": "Unknown\n"},
        {"current_link_width": "255\n"},
        {"current_link_width": "-1\n"},
        {"power_state": "D7\n"},
        {"power/runtime_status": "dreaming\n"},
        {"aer_dev_fatal": "\n"},
    ):
        health = read(LINK | AWAKE | ERRORS | odd)
        values = (*health, *health.link)
        unknown = [v for v in values if isinstance(v, Unknown)]
        assert [u.why for u in unknown] == [Why.MALFORMED], odd
        assert not health.is_dead


def test_a_function_without_a_link_and_one_that_is_gone() -> None:
    health = read({})
    assert health == FunctionHealth(
        NO_LINK, None, None, None, False, None, None, None
    )
    tree = host({}).tree()
    assert function_health.health(tree, address.parse("08:00.0")) == health


def test_a_recording_has_it() -> None:
    tree = host(LINK | AWAKE | ERRORS).tree()
    again = recorded_tree.parse(installed.recorded(tree), "again")
    assert function_health.health(again, GPU) == function_health.health(
        tree, GPU
    )
    assert function_health.health(again, GPU).link.width == 8

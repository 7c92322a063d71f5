"""Which resets a release tries, and what its event tells of them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts
from tests.functional.world import HOST, UUID, World, guest, place, wanted

GPU, AUDIO = place("06:00.0"), place("06:00.1")
UNIT = UnitKey(HOST, GPU)


@pytest.fixture
def resettable(world: World) -> World:
    """A guest has the card, whose functions have resets of their own."""
    tree, files = world.tree, {}
    for address in (GPU, AUDIO):
        folder = tree.real(f"sys/bus/pci/devices/{address}")
        files[f"{folder}/reset_method"] = b"flr pm bus\n"
        files[f"{folder}/current_link_speed"] = b"8.0 GT/s PCIe\n"
        files[f"{folder}/current_link_width"] = b"16\n"
    world.tree = RecordedTree({**tree.files, **files}, tree.links)
    boot(world.context(), guest(), wanted())
    return world


def last_event(world: World) -> str:
    """Why the unit has its present state."""
    events = world.ledger.events(EventQuery(consumer=UUID)).events
    return events[-1].transition.reason


def released(world: World) -> State:
    release.release(world.context(), UUID)
    return world.ledger.unit(UNIT).state


def test_the_event_has_each_method_and_the_link(resettable: World) -> None:
    assert released(resettable) is State.FREE
    reason = last_event(resettable)
    for address in (GPU, AUDIO):
        assert f"flr reset of {address}: OK" in reason
        assert f"link of {address}: 8.0 GT/s x16" in reason
    assert resettable.kernel.reset_groups == []


def test_a_method_that_fails_is_followed_by_the_next(
    resettable: World,
) -> None:
    resettable.kernel.refuses = {("flr reset", GPU)}
    assert released(resettable) is State.FREE
    reason = last_event(resettable)
    assert f"flr reset of {GPU} failed" in reason
    assert f"pm reset of {GPU}: OK" in reason
    assert resettable.kernel.reset_groups == []


def test_the_bus_is_the_last(resettable: World) -> None:
    resettable.kernel.refuses = {("flr reset", GPU), ("pm reset", GPU)}
    assert released(resettable) is State.FREE
    assert resettable.kernel.reset_groups == [18]
    assert f"bus reset of {GPU}" in last_event(resettable)


def test_nothing_more_is_tried_where_the_kernel_hangs(
    resettable: World,
) -> None:
    """The lock is free then, and the reason names the process."""

    def hangs(name: str) -> None:
        if name == "reset":
            raise errors.Stuck("process 77 has not finished it")

    acts = Acts(before=hangs)
    release.release(resettable.context(acts), UUID)
    record = resettable.ledger.unit(UNIT)
    assert record.state is State.QUARANTINED
    assert "process 77" in record.reason
    assert acts.done.count("reset") == 1
    with resettable.lock():
        pass

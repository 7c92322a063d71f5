"""Groups that an operator binds, unbinds and resets by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.flow import inventory, runtime_binding
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.runtime_binding import MovedFunction
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import VFIO, Binding
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.world import (
    HOST,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

GPU, AUDIO = place("0000:06:00.0"), place("0000:06:00.1")
KEY = UnitKey(HOST, GPU)
EACH = (
    runtime_binding.bind,
    runtime_binding.unbind,
    runtime_binding.reset,
)
Act = Callable[[HostContext, Address], object]


def test_a_whole_group_there_and_back(world: World) -> None:
    before = world.snapshot()
    there = (
        MovedFunction(GPU, "nouveau", "vfio-pci"),
        MovedFunction(AUDIO, "snd_hda_intel", "vfio-pci"),
    )
    assert runtime_binding.bind(world.context(), AUDIO, is_dry=True) == there
    assert world.snapshot() == before
    assert runtime_binding.bind(world.context(), AUDIO) == there
    assert {world.kernel.binding(p) for p in (GPU, AUDIO)} == {VFIO}
    assert runtime_binding.bind(world.context(), GPU) == tuple(
        MovedFunction(p, "vfio-pci", "vfio-pci") for p in (GPU, AUDIO)
    )
    assert runtime_binding.unbind(world.context(), GPU, is_dry=True) == tuple(
        MovedFunction(p, "vfio-pci", None) for p in (GPU, AUDIO)
    )
    back = tuple(MovedFunction(m.address, m.becomes, m.was) for m in there)
    assert runtime_binding.unbind(world.context(), GPU) == back
    assert world.snapshot() == before


@pytest.mark.parametrize("override", [None, "nouveau", "vfio-pci"])
def test_what_is_on_a_driver_of_the_host_stays_there(
    world: World, override: str | None
) -> None:
    """A process may use it.  A bind that was killed leaves an override."""
    pinned = Binding("nouveau", override)
    world.kernel.restart({**world.bindings, GPU: pinned})
    acts = Acts()
    dry = runtime_binding.unbind(world.context(), GPU, is_dry=True)
    moved = runtime_binding.unbind(world.context(acts), GPU)
    assert dry == ()
    assert {m.was for m in moved} == {m.becomes for m in moved}
    assert "probe" not in acts.done
    expected = Binding("nouveau", None) if override == "vfio-pci" else pinned
    assert world.kernel.binding(GPU) == expected


def test_what_was_left_without_a_driver_is_probed(world: World) -> None:
    world.kernel.restart({**world.bindings, GPU: Binding(None, None)})
    first, _ = runtime_binding.unbind(world.context(), GPU)
    assert first == MovedFunction(GPU, None, "nouveau")


def test_no_guest_gets_it_meanwhile(world: World) -> None:
    """The libvirt hook claims without the host's lock."""
    runtime_binding.bind(world.context(), GPU)
    refusals = []

    def claim(act: str) -> None:
        if act == "probe":
            refusals.append(
                refused(world.ledger.claim_units, [KEY], UUID, "hook")
            )

    runtime_binding.unbind(world.context(Acts(before=claim)), GPU)
    assert len(refusals) == 2
    assert world.ledger.unit(KEY).state is State.FREE


def test_what_the_kernel_refuses_leaves_the_unit_free(world: World) -> None:
    runtime_binding.bind(world.context(), GPU)
    acts = Acts(fail_at=2)
    assert "no probe today" in refused(
        runtime_binding.unbind, world.context(acts), GPU
    )
    assert world.ledger.unit(KEY).state is State.FREE


def test_a_group_that_changed_since_it_was_published(world: World) -> None:
    smaller = dataclasses.replace(
        world.ledger.unit(KEY).unit,
        functions=world.ledger.unit(KEY).unit.functions[:1],
    )
    others = [r.unit for r in world.ledger.records() if r.unit.key != KEY]
    world.ledger.publish(HOST, [smaller, *others])
    for act in EACH:
        assert "inventory sync" in refused(act, world.context(), GPU)


@pytest.mark.parametrize("failing", [GPU, AUDIO])
def test_all_of_it_or_none(world: World, failing: Address) -> None:
    before = world.snapshot()
    world.kernel.refuses.add(("bind to vfio-pci", failing))
    message = refused(runtime_binding.bind, world.context(), GPU)
    assert message.endswith("; nothing was changed")
    assert world.snapshot() == before


@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("act", [runtime_binding.bind, runtime_binding.unbind])
def test_killed_anywhere_and_run_again(
    world: World, act: Act, does_it: bool
) -> None:
    if act is runtime_binding.unbind:
        runtime_binding.bind(world.context(), GPU)
    whole = Acts()
    before = world.snapshot()
    act(world.context(whole), GPU)
    after = world.snapshot()
    assert after != before
    for number in range(1, len(whole.done) + 1):
        world.kernel.restart(dict(before.bindings))
        with pytest.raises(Crash):
            act(world.context(Acts(crash_at=number, does_it=does_it)), GPU)
        act(world.context(), GPU)
        assert world.snapshot() == after


@pytest.mark.parametrize("act", EACH)
def test_what_somebody_has_stays(world: World, act: Act) -> None:
    boot(world.context(), guest(), wanted("gpu:3"))
    acts = Acts()
    message = refused(act, world.context(acts), GPU)
    assert f"unit {KEY} is active for {UUID}" in message
    assert acts.done == []


@pytest.mark.parametrize("act", EACH)
def test_what_something_uses_stays(world: World, act: Act) -> None:
    """As a guest that libvirt started without the hook."""
    runtime_binding.bind(world.context(), GPU)
    world.kernel.held.add(GPU)
    acts = Acts()
    assert "is held" in refused(act, world.context(acts), AUDIO)
    assert acts.done == []


@pytest.mark.parametrize("act", EACH)
def test_what_is_no_assignable_group(world: World, act: Act) -> None:
    message = refused(act, world.context(), place("0000:00:1f.2"))
    assert "in no assignable group of selected devices" in message


def test_a_quarantined_unit_is_not_for_the_hosts_drivers(
    world: World,
) -> None:
    runtime_binding.bind(world.context(), GPU)
    inventory.quarantine(world.context(), KEY, "fan is loud")
    before = world.snapshot()
    message = refused(runtime_binding.unbind, world.context(), GPU)
    assert "is quarantined: fan is loud; run" in message
    assert world.snapshot() == before


def test_reset(world: World) -> None:
    message = refused(runtime_binding.reset, world.context(), GPU)
    assert "is on nouveau" in message and "device bind" in message
    assert world.kernel.reset_groups == []
    runtime_binding.bind(world.context(), GPU)
    before = world.snapshot()
    assert runtime_binding.reset(world.context(), GPU)
    assert world.kernel.reset_groups
    assert world.snapshot() == before


def test_what_is_not_clean_after_a_reset(world: World) -> None:
    runtime_binding.bind(world.context(), GPU)
    good = world.kernel.silence(GPU)
    message = refused(runtime_binding.reset, world.context(), GPU)
    assert message.endswith("; it is quarantined")
    record = world.ledger.unit(KEY)
    assert record.state is State.QUARANTINED
    # Another one that fails says no new reason.
    refused(runtime_binding.reset, world.context(), GPU)
    assert world.ledger.unit(KEY) == record
    world.kernel.identities[GPU] = good
    assert inventory.clear(world.context(), KEY).state is State.FREE

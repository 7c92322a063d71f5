"""Quarantined units that are cleared, on a recorded host."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.function import VFIO
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.world import (
    HOST,
    POLICY,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

GPU = place("06:00.0")
UNIT = UnitKey(HOST, GPU)
BOOT_ID = "proc/sys/kernel/random/boot_id"


def booted_as(tree: RecordedTree, boot_id: bytes) -> RecordedTree:
    files = {**tree.files, BOOT_ID: boot_id}
    return RecordedTree(files, tree.links, tree.folders)


def test_a_unit_that_is_another_group_now_is_not_cleared(
    world: World,
) -> None:
    """As after a function was taken off its bus and found again."""
    inventory.quarantine(world.context(), UNIT, "fan is loud")
    policy = Policy((*POLICY.select, selector.parse("class=0403")))
    context = dataclasses.replace(world.context(), policy=policy)
    message = refused(inventory.clear, context, UNIT)
    assert "differs from what was published" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    assert inventory.clear(world.context(), UNIT).state is State.FREE


def test_a_card_that_does_not_reset_is_quarantined(world: World) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    (record,) = release.release(world.context(), UUID)
    assert record.state is State.QUARANTINED
    assert record.reason == "the kernel does no reset"
    message = refused(inventory.clear, world.context(), UNIT)
    assert "not clean: the kernel does no reset" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    world.kernel.refuses.clear()
    acts = Acts()
    assert inventory.clear(world.context(acts), UNIT).state is State.FREE
    assert "reset" in acts.done
    assert world.snapshot() == before


def test_a_card_that_does_not_reset_is_clean_after_a_reboot(
    world: World,
) -> None:
    world.tree = booted_as(world.tree, b"first")
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    release.release(world.context(), UUID)
    refused(inventory.clear, world.context(), UNIT)
    world.tree = booted_as(world.tree, b"second")
    world.kernel.restart(world.bindings)
    assert inventory.clear(world.context(), UNIT).state is State.FREE
    assert world.snapshot() == before


def test_a_boot_that_cannot_be_told_from_another_is_the_same(
    world: World,
) -> None:
    """The unit was quarantined where no boot's id could be read."""
    boot(world.context(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    release.release(world.context(), UUID)
    world.tree = booted_as(world.tree, b"second")
    message = refused(inventory.clear, world.context(), UNIT)
    assert "the kernel does no reset" in message


def test_a_unit_that_no_guest_had_is_not_reset(world: World) -> None:
    inventory.quarantine(world.context(), UNIT, "fan is loud")
    acts = Acts()
    assert inventory.clear(world.context(acts), UNIT).state is State.FREE
    assert "reset" not in acts.done


@pytest.mark.parametrize("had_guest", [False, True])
def test_a_unit_that_a_guest_has_is_neither_reset_nor_freed(
    world: World, had_guest: bool
) -> None:
    """As of one that libvirt started without the hook."""
    if had_guest:
        boot(world.context(), guest(), wanted())
        world.kernel.refuses.add(("reset", GPU))
        release.release(world.context(), UUID)
        world.kernel.refuses.clear()
    else:
        inventory.quarantine(world.context(), UNIT, "fan is loud")
    before, acts = world.snapshot(), Acts()
    world.kernel.held.add(GPU)
    message = refused(inventory.clear, world.context(acts), UNIT)
    assert "is held" in message and "power-cycle" not in message
    assert acts.done == []
    assert world.snapshot() == before
    world.kernel.held.clear()
    assert inventory.clear(world.context(), UNIT).state is State.FREE


def test_clear_leaves_drivers_where_the_operator_wants_them(
    world: World,
) -> None:
    boot(world.context(), guest(), wanted())
    world.kernel.refuses.add(("reset", GPU))
    release.release(world.context(), UUID)
    world.kernel.refuses.clear()
    context = dataclasses.replace(world.context(), restores_drivers=False)
    inventory.clear(context, UNIT)
    assert world.kernel.binding(GPU) == VFIO
    assert world.journal.instances() == ()


def quarantined_while_out(world: World) -> None:
    """Have a card that a guest had quarantined while its host lacks it.

    The journal of the quarantine has no driver of it.
    """
    (record,) = world.ledger.claim(wanted(), UUID).units
    world.ledger.move(record, State.ACTIVE)
    own = {f.address: world.bindings[f.address] for f in record.unit.functions}
    identities = dict(world.kernel.identities)
    for address in own:
        world.kernel.lose(address)
    release.release(world.context(), UUID)
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    world.kernel.restart({**world.bindings, **own})
    world.kernel.identities.update(identities)


def test_a_card_that_was_out_of_the_host_is_on_its_driver_again(
    world: World,
) -> None:
    before = world.snapshot()
    quarantined_while_out(world)
    assert inventory.clear(world.context(), UNIT).state is State.FREE
    assert world.snapshot() == before


@pytest.mark.parametrize("does_it", [False, True])
def test_a_card_that_was_out_is_on_its_driver_whatever_dies(
    world: World, does_it: bool
) -> None:
    before = world.snapshot()
    quarantined_while_out(world)
    whole = Acts()
    inventory.clear(world.context(whole), UNIT)
    assert "reset" in whole.done and whole.done.count("rebind") == 4
    for number in range(1, len(whole.done) + 1):
        quarantined_while_out(world)
        acts = Acts(crash_at=number, does_it=does_it)
        with pytest.raises(Crash):
            inventory.clear(world.context(acts), UNIT)
        if world.ledger.unit(UNIT).state is not State.FREE:
            inventory.clear(world.context(), UNIT)
        assert world.snapshot() == before, whole.done[number - 1]

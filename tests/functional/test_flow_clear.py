"""Quarantined units that are cleared, on a recorded host."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.function import VFIO
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts
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


def test_a_card_that_was_out_of_the_host_is_on_its_driver_again(
    world: World,
) -> None:
    """The journal of its quarantine has no driver of it."""
    before = world.snapshot()
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
    assert inventory.clear(world.context(), UNIT).state is State.FREE
    assert world.snapshot() == before

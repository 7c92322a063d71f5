"""What boot, release, recovery and quarantine tell, in one golden file."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.messages import Messages
from tests.functional.world import (
    HOST,
    OTHER,
    UUID,
    World,
    guest,
    place,
    wanted,
)

GPU = place("06:00.0")
UNIT = UnitKey(HOST, GPU)


def start(context: HostContext, request: str = "gpu:1") -> None:
    boot(context, guest(), wanted(request))


def lost_ledger() -> Callable[[str], None]:
    """Fail the start, and then the ledger."""
    moves = itertools.count()

    def fail(act: str) -> None:
        if act.startswith("move to") and next(moves) > 0:
            raise errors.Unavailable("no ledger today")
        if act == "start":
            raise errors.Unavailable("no guest today")

    return fail


def unavailable() -> NoReturn:
    raise errors.Unavailable("no libvirt today")


def interrupted(world: World, acts: Acts) -> None:
    try:
        start(world.context(acts))
    except Crash:
        return
    raise AssertionError("nothing was interrupted")


def test_golden(world: World) -> None:
    messages = Messages(world)
    for scene in (_booted, _failing, _gone, _cleared, _lost):
        scene(messages)
    messages.assert_golden(Path(__file__).with_name("flow_messages.txt"))


def _booted(messages: Messages) -> None:
    world, context, tell = messages.world, messages.context, messages.tell
    tell("boot", lambda: start(context))
    tell("boot, again", lambda: start(context))
    messages.plan("release, planned")
    renamed = dataclasses.replace(context, host="renamed")
    tell("publish, renamed", lambda: inventory.publish(renamed))
    tell("withdraw, in use", lambda: release.withdraw(context, UUID))
    world.journal.remove(UUID)
    tell(
        "release, elsewhere",
        lambda: release.release(elsewhere(context), UUID),
    )
    tell("release, no journal", lambda: release.release(context, UUID))
    tell("release, nothing", lambda: release.release(context, UUID))
    world.kernel.restart(world.bindings)


def _failing(messages: Messages) -> None:
    world, context, tell = messages.world, messages.context, messages.tell
    tell("boot, too many", lambda: start(context, "gpu:4"))
    name = guest(OTHER, "test")
    tell("boot, name", lambda: boot(context, name, wanted()))
    failing = world.context(Acts(fail_at=10))
    tell("boot, fails late", lambda: start(failing))
    deaf = world.context(Acts(before=lost_ledger()))
    tell("boot, rollback fails", lambda: start(deaf))
    messages.recover("recover, rollback")
    interrupted(world, Acts(crash_at=11))
    messages.recover("recover, boot")
    tell("release", lambda: release.release(context, UUID))


def _gone(messages: Messages) -> None:
    context, tell = messages.context, messages.tell
    start(context)
    messages.world.hypervisor.destroy(UUID)
    tell("release, gone", lambda: release.release_gone(context))
    silent = dataclasses.replace(context, connect=unavailable)
    tell("release, gone, no libvirt", lambda: release.release_gone(silent))


def _cleared(messages: Messages) -> None:
    world, context, tell = messages.world, messages.context, messages.tell
    tell("clear, free", lambda: inventory.clear(context, UNIT))
    world.ledger.claim(wanted(), UUID)
    tell(
        "quarantine, claimed",
        lambda: inventory.quarantine(context, UNIT, "smells"),
    )
    release.withdraw(context, UUID)
    tell("clear, elsewhere", lambda: inventory.clear(elsewhere(context), UNIT))
    start(context)
    world.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    tell("release, dirty", lambda: release.release(context, UUID))
    tell("clear, dirty", lambda: inventory.clear(context, UNIT))
    world.kernel.identities[GPU] = Identity(0x10DE, 0x1430)
    world.kernel.refuses.add(("bind to nouveau", GPU))
    tell("clear, driver", lambda: inventory.clear(context, UNIT))
    world.kernel.refuses.clear()
    inventory.clear(context, UNIT)


def _lost(messages: Messages) -> None:
    world, context = messages.world, messages.context
    start(context)
    (record,) = world.ledger.allocation(UUID).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    messages.tell("release, lost", lambda: release.release(context, UUID))


def elsewhere(context: HostContext) -> HostContext:
    return dataclasses.replace(context, host="another")

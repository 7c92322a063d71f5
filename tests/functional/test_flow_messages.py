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
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.world import (
    HOST,
    OTHER,
    UUID,
    World,
    guest,
    place,
    wanted,
)
from tests.golden import assert_golden, sections

GPU = place("06:00.0")
UNIT = UnitKey(HOST, GPU)
Act = Callable[[], object]


def start(context: HostContext, request: str = "gpu:1") -> None:
    boot(context, guest(), wanted(request))


def recover(context: HostContext) -> None:
    with locked_and_recovered(context):
        pass


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
    messages: dict[str, list[str]] = {}
    context = world.context()

    def tell(title: str, act: Act) -> None:
        """Add the lines of an act, and its error."""
        world.said.clear()
        refusal = []
        try:
            act()
        except errors.Error as error:
            refusal = [f"{type(error).__name__}: {error}"]
        messages[title] = [*world.said, *refusal]

    tell("boot", lambda: start(context))
    tell("boot, again", lambda: start(context))
    messages["release, planned"] = [release.plan(context, UUID).reason]
    renamed = dataclasses.replace(context, host="renamed")
    tell("publish, renamed", lambda: inventory.publish(renamed))
    tell("withdraw, in use", lambda: release.withdraw(context, UUID))
    elsewhere = dataclasses.replace(context, host="another")
    world.journal.remove(UUID)
    tell("release, elsewhere", lambda: release.release(elsewhere, UUID))
    tell("release, no journal", lambda: release.release(context, UUID))
    tell("release, nothing", lambda: release.release(context, UUID))
    world.kernel.restart(world.bindings)

    tell("boot, too many", lambda: start(context, "gpu:4"))
    name = guest(OTHER, "test")
    tell("boot, name", lambda: boot(context, name, wanted()))
    failing = world.context(Acts(fail_at=10))
    tell("boot, fails late", lambda: start(failing))
    deaf = world.context(Acts(before=lost_ledger()))
    tell("boot, rollback fails", lambda: start(deaf))
    tell("recover, rollback", lambda: recover(context))
    interrupted(world, Acts(crash_at=11))
    tell("recover, boot", lambda: recover(context))
    tell("release", lambda: release.release(context, UUID))
    start(context)
    world.hypervisor.destroy(UUID)
    tell("release, gone", lambda: release.release_gone(context))
    silent = dataclasses.replace(context, connect=unavailable)
    tell("release, gone, no libvirt", lambda: release.release_gone(silent))

    tell("clear, free", lambda: inventory.clear(context, UNIT))
    world.ledger.claim(wanted(), UUID)
    tell(
        "quarantine, claimed",
        lambda: inventory.quarantine(context, UNIT, "smells"),
    )
    release.withdraw(context, UUID)
    tell("clear, elsewhere", lambda: inventory.clear(elsewhere, UNIT))
    start(context)
    world.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    tell("release, dirty", lambda: release.release(context, UUID))
    tell("clear, dirty", lambda: inventory.clear(context, UNIT))
    world.kernel.identities[GPU] = Identity(0x10DE, 0x1430)
    world.kernel.refuses.add(("bind to nouveau", GPU))
    tell("clear, driver", lambda: inventory.clear(context, UNIT))
    world.kernel.refuses.clear()
    inventory.clear(context, UNIT)

    start(context)
    (record,) = world.ledger.allocation(UUID).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    tell("release, lost", lambda: release.release(context, UUID))

    assert_golden(
        Path(__file__).with_name("flow_messages.txt"), sections(messages)
    )

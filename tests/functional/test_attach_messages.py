"""What attach and detach tell, and why they refuse, in one golden file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import attach, inventory, release
from gpu_passthrough_plugin.flow.attach import Scope
from gpu_passthrough_plugin.flow.boot import Keeping, boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.unit import UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, hostdev
from tests.functional.test_attach import (
    LAST,
    attached,
    define,
    defined,
    detached,
)
from tests.functional.test_flow_interrupted import recover
from tests.functional.world import (
    OTHER,
    UUID,
    World,
    guest,
    place,
    wanted,
)
from tests.golden import assert_golden, sections


def test_golden(world: World) -> None:
    messages: dict[str, list[str]] = {}
    context = world.context()

    def tell(title: str, act: Callable[[], object]) -> None:
        """Add the lines of an act, and its error."""
        world.said.clear()
        last = []
        try:
            act()
        except errors.Error as error:
            last = [f"{type(error).__name__}: {error}"]
        except Crash:
            last = ["(killed)"]
        messages[title] = [*world.said, *last]

    def refusal(title: str, scope: Scope = Scope.CURRENT) -> None:
        tell(
            f"attach, {title}",
            lambda: attach.attach(context, UUID, wanted(), scope),
        )

    refusal("unknown")
    world.hypervisor.start(guest().text.decode())
    refusal("config of a transient one", Scope.CONFIG)
    world.kernel.refuses.add(("plug", place(AUDIO)))
    refusal("no free port")
    world.kernel.refuses.clear()
    refusal("live")
    world.kernel.refuses.add(("unplug", place(AUDIO)))
    tell("detach, not given up", lambda: detached(context))
    world.kernel.refuses.clear()
    tell("detach, live", lambda: detached(context))
    tell("attach, killed at a plug", lambda: attached(_killed(world, 10)))
    tell("attach, undone live", lambda: recover(context))
    with context.connect() as hypervisor:
        hypervisor.destroy(UUID)

    define(world)
    (domain,) = world.domains()
    refusal("live of one that is shut off", Scope.LIVE)
    domain.create()
    refusal("live and defined")
    tell("detach, killed at an unplug", lambda: detached(_killed(world, 3)))
    tell("detach, undone", lambda: recover(context))
    detached(context)
    domain.managedSave()
    refusal("saved")
    domain.managedSaveRemove()
    define(world, hostdev(GPU) + hostdev(AUDIO))
    refusal("has them already")
    define(world, hostdev("0000:01:00.0"))
    refusal("the host needs what it has")
    define(world, "<controller type='pci' index='255'/>")
    refusal("no free bus")
    define(world)
    for key in [record.unit.key for record in world.ledger.records()]:
        inventory.quarantine(context, key, "smells")
    refusal("quarantined")
    for key in [record.unit.key for record in world.ledger.records()]:
        inventory.clear(context, key)
    world.ledger.claim(wanted("gpu:3"), OTHER)
    refusal("held by another")
    release.withdraw(context, OTHER)
    unit = UnitKey("far", place(GPU))
    world.ledger.publish(
        "far", [dataclasses.replace(context.units()[0], key=unit)]
    )
    world.ledger.claim_units([unit], UUID, "gpu:1")
    refusal("on another host")
    tell("detach, on another host", lambda: detached(context))
    elsewhere = dataclasses.replace(context, host="far")
    release.withdraw(elsewhere, UUID)

    tell("detach, nothing", lambda: detached(context))
    tell(
        "attach, libvirt refuses",
        lambda: attached(world.context(Acts(fail_at=4))),
    )
    tell("attach", lambda: attached(context))
    refusal("again")
    tell("allocation delete", lambda: release.withdraw(context, UUID))
    tell("boot, attached", lambda: boot(context, guest(), wanted()))
    tell("detach, another unit", lambda: attach.detach(context, UUID, [LAST]))
    tell("detach", lambda: detached(context))
    tell("attach, killed", lambda: attached(world.context(Acts(crash_at=4))))
    tell("attach, undone", lambda: recover(context))
    last = Acts(crash_at=5)
    tell("attach, killed later", lambda: attached(world.context(last)))
    tell("attach, completed", lambda: recover(context))
    tell("release, planned", lambda: _say_plan(world))
    tell(
        "detach, killed",
        lambda: detached(world.context(Acts(crash_at=3))),
    )
    tell("detach, completed", lambda: recover(context))
    tell(
        "boot, defined already",
        lambda: boot(context, guest(), wanted(), Keeping.DEFINED),
    )
    domain.undefine()
    tell("boot, defines", lambda: defined(context))
    tell("release, defined, planned", lambda: _say_plan(world))
    tell("release, defined", lambda: release.release(context, UUID))
    tell("boot, transient", lambda: boot(context, guest(), wanted()))
    tell("detach, transient", lambda: detached(context))
    refusal("booted")
    assert_golden(
        Path(__file__).with_name("attach_messages.txt"), sections(messages)
    )


def _killed(world: World, at: int) -> HostContext:
    return world.context(Acts(crash_at=at))


def _say_plan(world: World) -> None:
    world.said.append(release.plan(world.context(), UUID).reason)

"""What attach and detach tell, and why they refuse, in one golden file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gpu_passthrough_plugin.flow import attach, inventory, release
from gpu_passthrough_plugin.flow.attach import Scope
from gpu_passthrough_plugin.flow.boot import Keeping, boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.unit import UnitKey
from tests.functional.acts import Acts
from tests.functional.hooked import AUDIO, GPU, hostdev
from tests.functional.messages import Messages
from tests.functional.test_attach import (
    LAST,
    attached,
    define,
    defined,
    detached,
)
from tests.functional.world import (
    OTHER,
    UUID,
    World,
    guest,
    place,
    wanted,
)


class AttachMessages(Messages):
    """With the acts that are told of more than once."""

    def refusal(self, title: str, scope: Scope = Scope.CURRENT) -> None:
        self.tell(
            f"attach, {title}",
            lambda: attach.attach(self.context, UUID, wanted(), scope),
        )

    def detach(self, title: str) -> None:
        self.tell(f"detach, {title}", lambda: detached(self.context))


def test_golden(world: World) -> None:
    messages = AttachMessages(world)
    for scene in (
        _transient,
        _defined_and_running,
        _saved,
        _unfit_documents,
        _units_not_free,
        _on_another_host,
        _attached,
        _interrupted,
        _booted_defined,
        _booted_transient,
    ):
        scene(messages)
    messages.assert_golden(Path(__file__).with_name("attach_messages.txt"))


def _transient(messages: AttachMessages) -> None:
    world, refuses = messages.world, messages.world.kernel.refuses
    messages.refusal("unknown")
    world.hypervisor.start(guest().text.decode())
    messages.refusal("config of a transient one", Scope.CONFIG)
    refuses.add(("plug", place(AUDIO)))
    messages.refusal("no free port")
    refuses.clear()
    messages.refusal("live")
    refuses.add(("unplug", place(AUDIO)))
    messages.detach("not given up")
    refuses.clear()
    messages.detach("live")
    messages.tell(
        "attach, killed at a plug", lambda: attached(_killed(world, 10))
    )
    messages.recover("attach, undone live")
    with messages.context.connect() as hypervisor:
        hypervisor.destroy(UUID)


def _defined_and_running(messages: AttachMessages) -> None:
    world = messages.world
    define(world)
    (domain,) = world.domains()
    messages.refusal("live of one that is shut off", Scope.LIVE)
    domain.create()
    messages.refusal("live and defined")
    messages.tell(
        "detach, killed at an unplug", lambda: detached(_killed(world, 3))
    )
    messages.recover("detach, undone")
    detached(messages.context)


def _saved(messages: AttachMessages) -> None:
    (domain,) = messages.world.domains()
    domain.managedSave()
    messages.refusal("saved")
    domain.managedSaveRemove()


def _unfit_documents(messages: AttachMessages) -> None:
    world = messages.world
    define(world, hostdev(GPU) + hostdev(AUDIO))
    messages.refusal("has them already")
    define(world, hostdev("0000:01:00.0"))
    messages.refusal("the host needs what it has")
    define(world, "<controller type='pci' index='255'/>")
    messages.refusal("no free bus")
    define(world)


def _units_not_free(messages: AttachMessages) -> None:
    world, context = messages.world, messages.context
    keys = [record.unit.key for record in world.ledger.records()]
    for key in keys:
        inventory.quarantine(context, key, "smells")
    messages.refusal("quarantined")
    for key in keys:
        inventory.clear(context, key)
    world.ledger.claim(wanted("gpu:3"), OTHER)
    messages.refusal("held by another")
    release.withdraw(context, OTHER)


def _on_another_host(messages: AttachMessages) -> None:
    context, ledger = messages.context, messages.world.ledger
    unit = UnitKey("far", place(GPU))
    ledger.publish("far", [dataclasses.replace(context.units()[0], key=unit)])
    ledger.claim_units([unit], UUID, "gpu:1")
    messages.refusal("on another host")
    messages.detach("on another host")
    release.withdraw(dataclasses.replace(context, host="far"), UUID)


def _attached(messages: AttachMessages) -> None:
    world, context = messages.world, messages.context
    messages.detach("nothing")
    messages.tell(
        "attach, libvirt refuses",
        lambda: attached(world.context(Acts(fail_at=4))),
    )
    messages.tell("attach", lambda: attached(context))
    messages.refusal("again")
    messages.tell("allocation delete", lambda: release.withdraw(context, UUID))
    messages.tell("boot, attached", lambda: boot(context, guest(), wanted()))
    messages.tell(
        "detach, another unit", lambda: attach.detach(context, UUID, [LAST])
    )
    messages.tell("detach", lambda: detached(context))


def _interrupted(messages: AttachMessages) -> None:
    world = messages.world
    messages.tell("attach, killed", lambda: attached(_killed(world, 4)))
    messages.recover("attach, undone")
    messages.tell("attach, killed later", lambda: attached(_killed(world, 5)))
    messages.recover("attach, completed")
    messages.plan("release, planned")
    messages.tell("detach, killed", lambda: detached(_killed(world, 3)))
    messages.recover("detach, completed")


def _booted_defined(messages: AttachMessages) -> None:
    context = messages.context
    messages.tell(
        "boot, defined already",
        lambda: boot(context, guest(), wanted(), Keeping.DEFINED),
    )
    (domain,) = messages.world.domains()
    domain.undefine()
    messages.tell("boot, defines", lambda: defined(context))
    messages.plan("release, defined, planned")
    messages.tell("release, defined", lambda: release.release(context, UUID))


def _booted_transient(messages: AttachMessages) -> None:
    context = messages.context
    messages.tell("boot, transient", lambda: boot(context, guest(), wanted()))
    messages.detach("transient")
    messages.refusal("booted")


def _killed(world: World, at: int) -> HostContext:
    return world.context(Acts(crash_at=at))

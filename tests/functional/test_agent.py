"""A pass of the agent, on a recorded host with real services."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.flow import agent, inventory, release
from gpu_passthrough_plugin.flow.agent import Outcome, Result, UnitCache
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.function import VFIO, Rebind
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, hostdev, xml
from tests.functional.test_flow_gone import Full
from tests.functional.test_hook_flow import Libvirt
from tests.functional.world import (
    HOST,
    OTHER,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

UNIT = UnitKey(HOST, place(GPU))


def summary(outcomes: Iterable[Outcome]) -> list[tuple[Case, Act, Result]]:
    return [(o.finding.case, o.finding.act, o.result) for o in outcomes]


def one_pass(world: World) -> list[tuple[Case, Act, Result]]:
    return summary(agent.run(world.context(), UnitCache()))


def power_off(world: World, uuid: str = UUID) -> None:
    """As from inside of the guest: nobody here is told."""
    world.hypervisor.destroy(uuid)


GONE = (Case.GUEST_GONE, Act.RELEASE, Result.DONE)


def test_a_guest_that_was_shut_down_from_inside(world: World) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted("gpu:2"))
    boot(world.context(), guest(OTHER, "other"), wanted())
    power_off(world)
    assert one_pass(world) == [GONE]
    assert world.states() == ["active", "free", "free"]
    assert world.guests() == {OTHER}
    assert one_pass(world) == []
    power_off(world, OTHER)
    assert one_pass(world) == [GONE]
    assert world.snapshot() == before


def test_a_dry_pass_changes_nothing(world: World) -> None:
    boot(world.context(), guest(), wanted())
    power_off(world)
    before, acts = world.snapshot(), Acts()
    outcomes = agent.run(world.context(acts), UnitCache(), is_dry=True)
    assert summary(outcomes) == [
        (Case.GUEST_GONE, Act.RELEASE, Result.PLANNED)
    ]
    assert acts.done == []
    assert world.snapshot() == before


class CountingTree:
    """A host that counts how often config space is opened."""

    def __init__(self, world: World) -> None:
        self._tree = world.tree
        self.opened = 0

    def read(self, path: str, limit: int | None = None) -> object:
        self.opened += path.endswith("/config")
        return self._tree.read(path, limit)

    def gather(self, *arguments: object) -> object:
        return self._tree.gather(*arguments)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        return getattr(self._tree, name)


def test_a_pass_over_an_unchanged_host_writes_nothing(world: World) -> None:
    boot(world.context(), guest(), wanted())
    tree, acts, cache = CountingTree(world), Acts(), UnitCache()
    context: HostContext = dataclasses.replace(
        world.context(acts),
        tree=tree,  # type: ignore[arg-type]
    )
    assert agent.run(context, cache) == ()
    first = tree.opened
    assert first > 0
    assert agent.run(context, cache) == ()
    assert (tree.opened, acts.done) == (first, [])


def copied_ledger(world: World) -> str:
    world.ledger.close()
    copy = f"{world.folder}/backup.sqlite"
    shutil.copy(f"{world.folder}/ledger.sqlite", copy)
    return copy


def restore_ledger(world: World, copy: str) -> None:
    world.ledger.close()
    for suffix in ("-wal", "-shm"):
        world.folder.joinpath(f"ledger.sqlite{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, f"{world.folder}/ledger.sqlite")


def test_a_ledger_from_before_the_boot_while_the_guest_runs(
    world: World,
) -> None:
    copy = copied_ledger(world)
    boot(world.context(), guest(), wanted())
    running = world.snapshot()
    restore_ledger(world, copy)
    assert world.states() == ["free"] * 3
    assert one_pass(world) == [
        (Case.GUEST_NOT_RECORDED, Act.RECORD, Result.DONE)
    ]
    assert world.snapshot() == running
    assert world.ledger.allocation(UUID).request == "gpu:1"
    assert one_pass(world) == []


def test_a_ledger_from_before_the_boot_after_the_guest_ended(
    world: World,
) -> None:
    """What it had is offered, and was not reset: that is done first."""
    before = world.snapshot()
    copy = copied_ledger(world)
    boot(world.context(), guest(), wanted())
    power_off(world)
    restore_ledger(world, copy)
    restored = world.snapshot()
    told = refused(boot, world.context(), guest(OTHER, "other"), wanted())
    assert f"journal has it for instance {UUID}" in told
    assert (
        Libvirt(world).calls("prepare", xml(GPU, AUDIO, uuid=OTHER).encode())
        == 1
    )
    assert world.snapshot() == restored
    world.kernel.reset_groups.clear()
    assert one_pass(world) == [
        (Case.LEDGER_BEHIND, Act.RECORD, Result.DONE),
        GONE,
    ]
    assert world.kernel.reset_groups == [18]
    assert world.snapshot() == before


def test_a_ledger_that_has_another_unit_for_a_running_guest(
    world: World,
) -> None:
    """As a copy from before the guest was booted with another one."""
    (record,) = boot(world.context(), guest(), wanted()).units
    for state in (State.RELEASING, State.SANITISING, State.FREE):
        record = world.ledger.move(record, state)
    other = UnitKey(HOST, place("82:00.0"))
    (record,) = world.ledger.claim_units([other], UUID, HOOK_REQUEST).units
    world.ledger.move(record, State.ACTIVE)
    acted = [f for f in one_pass(world) if f[1] is not Act.NONE]
    assert acted == [
        (Case.UNIT_UNUSED, Act.QUARANTINE, Result.DONE),
        (Case.GUEST_NOT_RECORDED, Act.RECORD, Result.DONE),
    ]
    assert world.ledger.unit(UNIT).consumer == UUID
    assert world.ledger.unit(other).state is State.QUARANTINED
    assert UUID in world.guests()
    acts = Acts()
    inventory.clear(world.context(acts), other)
    assert "reset" in acts.done


def test_what_is_attached_again_since_is_not_quarantined(
    world: World,
) -> None:
    """Between what was found and the act: claimed first, then plugged."""
    world.hypervisor.start(guest().text.decode())
    (record,) = world.ledger.claim_units([UNIT], UUID, HOOK_REQUEST).units
    release.quarantine_unused(world.context(), UUID, [UNIT])
    assert world.ledger.unit(UNIT) == record
    record = world.ledger.move(record, State.ACTIVE)
    rebind = Rebind(place(GPU), world.kernel.binding(place(GPU)), VFIO)
    instance = Instance(UUID, phase=Phase.ATTACHED, rebinds=(rebind,))
    world.journal.write(instance)
    release.quarantine_unused(world.context(), UUID, [UNIT])
    assert world.ledger.unit(UNIT) == record
    world.journal.remove(UUID)
    release.quarantine_unused(world.context(), UUID, [UNIT])
    assert world.ledger.unit(UNIT).state is State.QUARANTINED


def test_a_guest_that_libvirt_started_before_the_hook(world: World) -> None:
    devices = "".join(map(hostdev, (GPU, AUDIO)))
    world.hypervisor.start(guest(devices=devices).text.decode())
    assert one_pass(world) == [
        (Case.GUEST_NOT_RECORDED, Act.RECORD, Result.DONE)
    ]
    assert world.ledger.unit(UNIT).consumer == UUID
    assert world.ledger.allocation(UUID).request == HOOK_REQUEST
    power_off(world)
    assert one_pass(world) == [GONE]
    assert world.states() == ["free"] * 3


def test_a_hooks_guest_that_cannot_be_kept_from_starting(
    world: World,
) -> None:
    """It may start while it is released: it stays, and that is told."""
    (record,) = world.ledger.claim_units([UNIT], UUID, HOOK_REQUEST).units
    world.ledger.move(record, State.ACTIVE)
    before = world.snapshot()
    full = Full(str(world.folder / "ended"))
    context = dataclasses.replace(world.context(), ended=full)
    outcomes = agent.run(context, UnitCache())
    assert summary(outcomes) == [(Case.GUEST_GONE, Act.RELEASE, Result.FAILED)]
    assert outcomes[0].waits_for_person
    assert world.snapshot() == before
    assert one_pass(world) == [GONE]
    assert world.states() == ["free"] * 3


def test_a_silent_libvirt_releases_nothing(world: World) -> None:
    boot(world.context(), guest(), wanted())
    power_off(world)
    before = world.snapshot()

    def connect() -> Hypervisor:
        raise errors.Unavailable("libvirt does not answer at qemu:///system")

    context = dataclasses.replace(world.context(), connect=connect)
    outcomes = agent.run(context, UnitCache())
    assert summary(outcomes) == [(Case.LIBVIRT, Act.NONE, Result.LEFT)]
    assert outcomes[0].waits_for_person
    assert world.snapshot() == before


def test_an_act_that_fails_keeps_no_other_from_being_tried(
    world: World,
) -> None:
    for uuid in (UUID, OTHER):
        boot(world.context(), guest(uuid, uuid[:4]), wanted())
        power_off(world, uuid)
    outcomes = agent.run(world.context(Acts(fail_at=1)), UnitCache())
    results = [outcome.result for outcome in outcomes]
    assert sorted(results) == [Result.DONE, Result.FAILED]
    failed = outcomes[results.index(Result.FAILED)]
    assert failed.waits_for_person and " today" in failed.text
    one_pass(world)
    assert world.states() == ["free"] * 3


# What the release of one card does.
ACTS = 9


def test_what_a_release_does(world: World) -> None:
    boot(world.context(), guest(), wanted())
    power_off(world)
    acts = Acts()
    agent.run(world.context(acts), UnitCache())
    assert len(acts.done) == ACTS


@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("crash_at", range(1, ACTS + 1))
def test_an_agent_that_is_killed_at_any_act(
    world: World, crash_at: int, does_it: bool
) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    power_off(world)
    acts = Acts(crash_at=crash_at, does_it=does_it)
    with pytest.raises(Crash):
        agent.run(world.context(acts), UnitCache())
    # One pass explains, or ends, all of it.
    one_pass(world)
    assert one_pass(world) == []
    assert world.snapshot() == before


def test_a_unit_that_came_is_published(world: World) -> None:
    world.ledger.publish(HOST, world.context().units()[:2])
    assert len(world.states()) == 2
    assert one_pass(world) == [(Case.INVENTORY, Act.PUBLISH, Result.DONE)]
    assert world.states() == [str(State.FREE)] * 3

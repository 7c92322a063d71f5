"""Releasing every instance whose guest is gone, on a recorded host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import libvirt
import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.release import Release
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, SECOND, hostdev
from tests.functional.world import (
    OTHER,
    UUID,
    World,
    guest,
    place,
    refused,
    wanted,
)

Define = Callable[[str], Any]


@pytest.fixture
def define(world: World) -> Iterator[Define]:
    """Defines the guest with devices, until the test ends."""
    connection = world.hypervisor._connection

    def defined(devices: str) -> Any:
        return connection.defineXML(guest(devices=devices).text.decode())

    yield defined
    domain = connection.lookupByUUIDString(UUID)
    if domain.isActive():
        domain.destroy()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def two_guests(world: World) -> None:
    boot(world.context(), guest(), wanted())
    boot(world.context(), guest(OTHER, "other"), wanted())


def outcomes(releases: tuple[Release, ...]) -> dict[str, tuple[bool, str]]:
    return {r.uuid: (not r.is_kept, r.reason) for r in releases}


def kept(world: World) -> str:
    """Why the one instance is kept, and nothing is changed."""
    before = world.snapshot()
    (planned,) = release.plan_gone(world.context())
    acts = Acts()
    (done,) = release.release_gone(world.context(acts))
    assert planned == done and done.is_kept
    assert (acts.done, world.snapshot()) == ([], before)
    return done.reason


def test_what_is_gone_is_released_and_what_runs_is_not(world: World) -> None:
    boot(world.context(), guest(OTHER, "other"), wanted())
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    ended = world.snapshot()
    planned = release.plan_gone(world.context())
    assert world.snapshot() == ended
    acts = Acts()
    done = release.release_gone(world.context(acts))
    assert outcomes(planned) == outcomes(done)
    assert outcomes(done) == {
        UUID: (
            True,
            "libvirt has no domain of this UUID, and nothing uses the groups"
            " of its units",
        ),
        OTHER: (False, "its guest is running"),
    }
    assert [r.name for r in done] == ["guest", "other"]
    (unit,) = done[0].units
    assert unit.state is State.FREE
    assert world.snapshot() == before
    assert "reset" in acts.done and "stop" not in acts.done
    assert f"releasing {UUID} (guest): {done[0].reason}" in world.said


def test_all_are_released_after_the_host_went_down(world: World) -> None:
    before = world.snapshot()
    two_guests(world)
    key = world.ledger.records()[-1].unit.key
    third = OTHER.replace("0aaa", "0bbb")
    (record,) = world.ledger.claim_units([key], third, HOOK_REQUEST).units
    world.ledger.move(record, State.ACTIVE)
    for uuid in (UUID, OTHER):
        world.hypervisor.destroy(uuid)
    world.kernel.restart(world.bindings)
    planned = release.plan_gone(world.context())
    done = release.release_gone(world.context())
    # What the hook claimed is released by what every command begins with.
    assert outcomes(planned) == outcomes(done)
    assert set(outcomes(done)) == {UUID, OTHER, third}
    assert all(u.state is State.FREE for r in done for u in r.units)
    assert world.snapshot() == before
    assert release.release_gone(world.context()) == ()


class Full(EndedGuests):
    """Takes no more entries."""

    def write(self, uuid: str, *, is_suspected: bool = False) -> NoReturn:
        raise errors.Unavailable("too many entries")


def test_a_hooks_guest_that_cannot_be_kept_from_starting_is_kept(
    world: World,
) -> None:
    """Its end is noted before libvirt is asked, so that a start waits."""
    key = world.ledger.records()[0].unit.key
    (record,) = world.ledger.claim_units([key], UUID, HOOK_REQUEST).units
    world.ledger.move(record, State.ACTIVE)
    before = world.snapshot()
    full = Full(str(world.folder / "ended"))
    context = dataclasses.replace(world.context(), ended=full)
    (done,) = release.release_gone(context)
    assert done.is_kept and "run this again" in done.reason
    assert world.snapshot() == before
    (done,) = release.release_gone(world.context())
    assert not done.is_kept
    assert world.states() == ["free"] * 3


def test_a_guest_that_starts_meanwhile_is_kept(world: World) -> None:
    two_guests(world)
    for uuid in (UUID, OTHER):
        world.hypervisor.destroy(uuid)
    started: list[str] = []

    def start(act: str) -> None:
        """While the first is reset the second starts."""
        if act == "reset" and not started:
            started.extend(
                instance.uuid
                for instance in world.journal.instances()
                if instance.phase is Phase.ACTIVE
            )
            world.hypervisor.start(guest(started[0], "again").text.decode())

    done = release.release_gone(world.context(Acts(before=start)))
    assert [r.uuid for r in done if r.is_kept] == started
    (running,) = started
    assert world.guests() == {running}
    assert world.journal.read(running) is not None
    assert [r.state for r in world.ledger.allocation(running).units] == [
        State.ACTIVE
    ]


def test_a_group_that_is_in_use_is_kept(world: World) -> None:
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    world.kernel.held.add(place(GPU))
    assert GPU in kept(world)
    world.kernel.held.clear()
    world.kernel.held.add(place(AUDIO))
    world.kernel.lose(place(GPU))
    (done,) = release.release_gone(world.context())
    assert done.is_kept and AUDIO in done.reason


@pytest.mark.parametrize("lost", [SECOND[:1], SECOND])
def test_what_is_no_longer_there_is_used_by_nobody(
    world: World, lost: tuple[str, ...]
) -> None:
    boot(world.context(), guest(), wanted("gpu:2"))
    world.hypervisor.destroy(UUID)
    for function in lost:
        world.kernel.lose(place(function))
    (done,) = release.release_gone(world.context())
    assert not done.is_kept
    assert world.states() == ["free", "quarantined", "free"]


def test_a_domain_that_may_start_again_with_its_units_is_kept(
    world: World, define: Define
) -> None:
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    domain = define(hostdev(GPU) + hostdev(AUDIO))
    assert f"{GPU}, {AUDIO}" in kept(world)
    domain.create()
    assert "running" in kept(world)
    domain.managedSave()
    assert "saved" in kept(world)
    domain.managedSaveRemove()
    define("")
    # Its definition has none of them any more.
    (done,) = release.release_gone(world.context())
    assert (done.uuid, done.is_kept) == (UUID, False)


def test_a_defined_guest_that_was_booted_with_a_unit_is_gone(
    world: World, define: Define
) -> None:
    """``instance boot`` adds nothing to a definition."""
    define("")
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    (done,) = release.release_gone(world.context())
    assert not done.is_kept and "shut off" in done.reason
    assert world.snapshot() == before


def test_a_claim_without_a_guest_is_kept(world: World) -> None:
    world.ledger.claim(wanted(), UUID)
    assert f"allocation delete {UUID}" in kept(world)


@pytest.mark.parametrize("why", ["libvirt", "journal"])
def test_what_is_unknown_is_not_gone(world: World, why: str) -> None:
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    context = world.context()
    if why == "libvirt":

        def silent() -> AbstractContextManager[Hypervisor]:
            raise errors.Unavailable("libvirt does not answer")

        context = dataclasses.replace(context, connect=silent)
    else:
        (world.folder / "instances" / f"{OTHER}.json").write_text("{")
    states = world.states()
    for act in (release.plan_gone, release.release_gone):
        message = refused(act, context)
        assert "unknown" in message and why in message
    assert world.states() == states


def test_one_that_is_not_clean_is_quarantined(world: World) -> None:
    two_guests(world)
    for uuid in (UUID, OTHER):
        world.hypervisor.destroy(uuid)
    world.kernel.identities[place(GPU)] = Identity(0xFFFF, 0xFFFF)
    done = release.release_gone(world.context())
    states = {r.uuid: [u.state for u in r.units] for r in done}
    assert states == {UUID: [State.QUARANTINED], OTHER: [State.FREE]}


@pytest.mark.parametrize("does_it", [False, True])
def test_a_release_that_dies_is_completed_without_libvirt(
    world: World, does_it: bool
) -> None:
    """Also if libvirt has started the guest again since: it is not stopped."""
    before = world.snapshot()

    def gone(acts: Acts) -> None:
        boot(world.context(), guest(), wanted())
        world.hypervisor.destroy(UUID)
        release.release_gone(world.context(acts))

    whole = Acts()
    gone(whole)
    assert world.snapshot() == before
    for number in range(1, len(whole.done) + 1):
        with pytest.raises(Crash):
            gone(Acts(crash_at=number, does_it=does_it))
        acts = Acts()
        inventory.publish(world.context(acts))
        release.release_gone(world.context(acts))
        assert world.snapshot() == before, whole.done[number - 1]
        assert "stop" not in acts.done


def test_what_a_release_would_do(world: World) -> None:
    boot(world.context(), guest(), wanted())
    before = world.snapshot()
    planned = release.plan(world.context(), UUID)
    assert (planned.uuid, planned.name) == (UUID, "guest")
    assert "shut down" in planned.reason and "5 s" in planned.reason
    world.hypervisor.destroy(UUID)
    assert "does not run" in release.plan(world.context(), UUID).reason
    world.hypervisor.start(guest().text.decode())
    left = release.plan(world.context(), UUID)
    assert "would be left" in left.reason
    journal = world.journal.read(UUID)
    assert journal is not None
    world.journal.remove(UUID)
    assert "quarantined" in release.plan(world.context(), UUID).reason
    world.journal.write(journal)
    world.hypervisor.destroy(UUID)
    message = refused(release.plan, world.context(), OTHER)
    assert OTHER in message and "holds nothing" in message
    elsewhere = dataclasses.replace(world.context(), host="another")
    assert UUID in refused(release.plan, elsewhere, UUID)
    assert world.snapshot().ledger == before.ledger
    assert world.snapshot().bindings == before.bindings

"""Guests that others start, with the hook's part and everybody else's.

The ledger, the lock, the journal and libvirt's driver for tests are real;
the functions' drivers change hands in memory.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import (
    boot,
    hook,
    inventory,
    recovery,
    release,
)
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.hook import HookContext
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, SECOND, hostdev, xml
from tests.functional.world import (
    HOST,
    OTHER,
    POLICY,
    UUID,
    World,
    guest,
    place,
    wanted,
)
from tests.golden import assert_golden, sections
from tests.trees.seed import seed

WHOLE = xml(GPU, AUDIO, uuid=UUID).encode()


class Libvirt:
    """What libvirt calls, on a host where every function is on vfio-pci."""

    def __init__(self, world: World, mode: HookMode = HookMode.ANY) -> None:
        root = seed().write(world.folder / "root")
        self.ended: list[str] = []
        self.context = HookContext(
            host=HOST,
            tree=HostTree(str(root)),
            policy=POLICY,
            open_ledger=lambda: world.ledger,
            journal=world.journal,
            ended=world.ended,
            mode=mode,
            wait_s=0,
            hand_over=self.ended.append,
        )

    def calls(self, operation: str, text: bytes = WHOLE) -> int:
        return hook.act(lambda: self.context, "guest", operation, text)


@pytest.fixture
def libvirt(world: World) -> Libvirt:
    return Libvirt(world)


def deaf(world: World, acts: Acts | None = None) -> HostContext:
    """The host, whose libvirt must not be asked.

    It holds a domain while that starts anew, and waits for its units.
    """

    def connect() -> AbstractContextManager[Hypervisor]:
        return _never()

    return dataclasses.replace(world.context(acts), connect=connect)


def _never() -> NoReturn:
    raise AssertionError("libvirt was asked")


def states(world: World) -> dict[str, tuple[str, str | None]]:
    return {
        str(r.unit.key.address): (str(r.state), r.consumer)
        for r in world.ledger.records()
    }


def test_a_guest_from_its_start_to_its_end(
    world: World, libvirt: Libvirt
) -> None:
    before = world.snapshot()
    assert libvirt.calls("prepare") == 0
    assert states(world)[GPU] == ("active", UUID)
    assert libvirt.ended == []
    assert libvirt.calls("release") == 0
    assert states(world)[GPU] == ("releasing", UUID)
    assert libvirt.ended == [UUID]
    acts = Acts()
    recovery.release_ended(deaf(world, acts), UUID)
    assert "reset" in acts.done
    assert world.snapshot() == before
    assert libvirt.calls("prepare") == 0


def test_functions_go_back_to_what_libvirt_left_them_on(
    world: World, libvirt: Libvirt
) -> None:
    libvirt.calls("prepare")
    libvirt.calls("release")
    recovery.release_ended(deaf(world), UUID)
    assert world.kernel.binding(place(GPU)).driver == "nouveau"
    assert world.kernel.binding(place(AUDIO)).driver == "snd_hda_intel"
    libvirt.calls("prepare")
    libvirt.calls("release")
    kept = dataclasses.replace(deaf(world), restores_drivers=False)
    recovery.release_ended(kept, UUID)
    assert world.kernel.binding(place(GPU)).driver == "vfio-pci"


def test_what_was_claimed_by_hand_is_claimed_again(
    world: World, libvirt: Libvirt
) -> None:
    held = world.ledger.claim(wanted(), UUID)
    functions = [str(f.address) for f in held.units[0].unit.functions]
    text = xml(*functions, uuid=UUID).encode()
    before = world.snapshot()
    for _ in range(2):
        assert libvirt.calls("prepare", text) == 0
        assert world.ledger.allocation(UUID).states == (State.ACTIVE,)
        assert libvirt.calls("release", text) == 0
        acts = Acts()
        recovery.release_ended(deaf(world, acts), UUID)
        assert "reset" in acts.done
        assert world.snapshot() == before
    assert world.ledger.allocation(UUID).request == "gpu:1"
    release.withdraw(world.context(), UUID)
    assert world.states() == ["free"] * 3


def test_a_unit_that_does_not_reset_is_quarantined(
    world: World, libvirt: Libvirt
) -> None:
    world.kernel.refuses.add(("reset", place(GPU)))
    libvirt.calls("prepare")
    libvirt.calls("release")
    recovery.release_ended(deaf(world), UUID)
    assert states(world)[GPU] == ("quarantined", None)
    assert libvirt.calls("prepare") == 1
    assert world.states() == ["quarantined", "free", "free"]


@pytest.mark.parametrize("does_it", [False, True])
def test_a_release_that_dies_is_finished_by_the_next_command(
    world: World, libvirt: Libvirt, does_it: bool
) -> None:
    before = world.snapshot()
    libvirt.calls("prepare")
    libvirt.calls("release")
    whole = Acts()
    recovery.release_ended(deaf(world, whole), UUID)
    assert world.snapshot() == before
    for number in range(1, len(whole.done) + 1):
        assert libvirt.calls("prepare") == 0
        libvirt.calls("release")
        acts = Acts(crash_at=number, does_it=does_it)
        with pytest.raises(Crash):
            recovery.release_ended(deaf(world, acts), UUID)
        # Neither a guest that starts anew takes what is not given back,
        # nor does it end what it is given.
        if world.snapshot() != before:
            assert libvirt.calls("prepare") == 1
        inventory.publish(deaf(world))
        assert world.snapshot() == before, whole.done[number - 1]


def test_what_the_hook_claimed_and_died_is_free_again(
    world: World, libvirt: Libvirt
) -> None:
    """By way of a driver a claim comes first, and then it is active."""
    key = world.ledger.records()[0].unit.key
    world.ledger.claim_units([key], UUID, "hook")
    assert libvirt.calls("release") == 0
    assert libvirt.ended == [UUID]
    recovery.release_ended(deaf(world), UUID)
    assert world.states() == ["free"] * 3
    world.ledger.claim_units([key], UUID, "hook")
    assert libvirt.calls("prepare") == 0
    assert states(world)[GPU] == ("active", UUID)


def test_a_boot_of_ours_goes_through_and_ends_by_itself(
    world: World,
) -> None:
    """Whatever shape others' guests are held to."""
    libvirt = Libvirt(world, mode=HookMode.PRIMARY)
    before = world.snapshot()
    called: list[str] = []

    def hooked(act: str) -> None:
        if act not in ("start", "stop"):
            return
        held = world.ledger.allocation(UUID).units[0]
        places = [str(f.address) for f in held.unit.functions]
        text = xml(*places, uuid=UUID).encode()
        now = world.snapshot()
        operation = "prepare" if act == "start" else "release"
        assert libvirt.calls(operation, text) == 0
        assert world.snapshot() == now
        called.append(operation)

    boot.boot(world.context(Acts(before=hooked)), guest(), wanted())
    assert world.ledger.allocation(UUID).states == (State.ACTIVE,)
    release.release(world.context(Acts(before=hooked)), UUID)
    assert called[0] == "prepare"
    assert "release" in called
    assert libvirt.ended == []
    assert world.snapshot() == before


def test_a_guest_of_ours_that_ended_keeps_its_units(
    world: World, libvirt: Libvirt
) -> None:
    boot.boot(world.context(), guest(), wanted())
    held = world.ledger.allocation(UUID).units[0]
    places = [str(f.address) for f in held.unit.functions]
    assert libvirt.calls("release", xml(*places, uuid=UUID).encode()) == 0
    assert world.ledger.allocation(UUID).states == (State.ACTIVE,)
    assert libvirt.ended == []


def test_an_operator_releases_a_guest_that_others_started(
    world: World, libvirt: Libvirt
) -> None:
    assert libvirt.calls("prepare") == 0
    world.hypervisor.start(guest(devices=hostdev(GPU)).text.decode())

    def hooked(act: str) -> None:
        if act == "stop":
            assert libvirt.calls("release") == 0

    acts = Acts(before=hooked)
    (record,) = release.release(world.context(acts), UUID)
    assert record.state is State.FREE
    assert {"stop", "reset"} <= set(acts.done)
    assert libvirt.ended == []
    assert world.guests() == frozenset()
    assert world.states() == ["free"] * 3


def test_what_is_active_is_not_withdrawn(
    world: World, libvirt: Libvirt
) -> None:
    libvirt.calls("prepare")
    world.kernel.held.add(place(GPU))
    with pytest.raises(errors.Refused, match="instance release"):
        release.withdraw(world.context(), UUID)


def test_recovery_leaves_running_guests_of_others_alone(
    world: World, libvirt: Libvirt
) -> None:
    libvirt.calls("prepare")
    world.kernel.held.add(place(GPU))
    before = world.snapshot()
    inventory.publish(deaf(world))
    assert world.snapshot() == before


def test_a_group_that_somebody_holds_is_libvirts_to_tell_of(
    world: World, libvirt: Libvirt
) -> None:
    """The journal was lost: the guest may be running."""
    libvirt.calls("prepare")
    libvirt.calls("release")
    world.kernel.held.add(place(GPU))
    with pytest.raises(AssertionError, match="libvirt was asked"):
        inventory.publish(deaf(world))
    world.hypervisor.start(guest().text.decode())
    world.kernel.held.clear()
    assert world.guests() == {UUID}


def test_a_guest_that_waits_has_the_release_begun_again(
    world: World, libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was to give its units back may have died."""
    monkeypatch.setattr(hook, "_RESTART_RELEASE_S", 0)
    libvirt.calls("prepare")
    libvirt.calls("release")
    libvirt.ended.clear()

    def give_back(uuid: str) -> None:
        libvirt.ended.append(uuid)
        recovery.release_ended(deaf(world), uuid)

    libvirt.context = dataclasses.replace(
        libvirt.context, wait_s=5, hand_over=give_back
    )
    assert libvirt.calls("prepare") == 0
    assert libvirt.ended == [UUID]
    assert states(world)[GPU] == ("active", UUID)


def test_whose_a_unit_is(
    world: World, libvirt: Libvirt, capfd: pytest.CaptureFixture[str]
) -> None:
    other = xml(GPU, AUDIO, *SECOND, uuid=OTHER).encode()
    assert libvirt.calls("prepare") == 0
    assert libvirt.calls("prepare", other) == 1
    err = capfd.readouterr().err
    for datum in (f"{HOST}/{GPU}", "active", UUID):
        assert datum in err
    assert states(world)[SECOND[0]] == ("free", None)
    world.ledger.cordon(HOST, "new roof")
    second = xml(*SECOND, uuid=OTHER).encode()
    assert libvirt.calls("prepare", second) == 1
    assert "new roof" in capfd.readouterr().err
    assert libvirt.calls("release", other) == 0
    assert libvirt.calls("release") == 0
    assert libvirt.ended == [UUID]
    # Again: what is releasing still is to be given back.
    assert libvirt.calls("release") == 0
    assert libvirt.ended == [UUID, UUID]


def test_a_guest_without_a_uuid_is_refused(
    libvirt: Libvirt, capfd: pytest.CaptureFixture[str]
) -> None:
    for uuid in ("", "none"):
        text = xml(GPU, AUDIO, uuid=uuid).encode()
        assert libvirt.calls("prepare", text) == 1
        assert "<uuid>" in capfd.readouterr().err


def test_what_may_be_a_function_is_refused(
    world: World, libvirt: Libvirt, capfd: pytest.CaptureFixture[str]
) -> None:
    text = xml(rest="<devices><disk type='nvme'/></devices>").encode()
    assert libvirt.calls("prepare", text) == 1
    assert '<disk type="nvme">' in capfd.readouterr().err
    # A running guest is never killed by it.
    for operation in ("reconnect", "release"):
        assert libvirt.calls(operation, text) == 0
    assert world.states() == ["free"] * 3
    # Its units are known by its UUID when it has ended.
    doubtful = xml(GPU, AUDIO, uuid=UUID).replace(
        "<devices>", "<devices><disk type='nvme'/>"
    )
    libvirt.calls("prepare")
    assert libvirt.calls("release", doubtful.encode()) == 0
    assert states(world)[GPU] == ("releasing", UUID)


def test_messages(
    world: World, libvirt: Libvirt, capfd: pytest.CaptureFixture[str]
) -> None:
    def said(operation: str, text: bytes) -> str:
        libvirt.calls(operation, text)
        return capfd.readouterr().err.strip()

    doubtful = xml(rest="<devices><disk type='nvme'/></devices>").encode()
    messages = {
        "may be one": said("prepare", doubtful),
        "no UUID": said("prepare", xml(GPU, uuid="").encode()),
        "not there": said("prepare", xml("0000:77:00.0").encode()),
    }
    world.ledger.claim_units([key(world)], OTHER, "gpu:1")
    messages["another's"] = said("prepare", WHOLE)
    messages["another's, running"] = said("reconnect", WHOLE)
    world.ledger.move(world.ledger.unit(key(world)), State.ACTIVE)
    world.ledger.move(world.ledger.unit(key(world)), State.RELEASING)
    messages["waits"] = said("prepare", WHOLE)
    messages["waits, running"] = said("reconnect", WHOLE)
    assert_golden(
        Path(__file__).with_name("hook_messages.txt"), sections(messages)
    )


def key(world: World) -> UnitKey:
    (found,) = (
        r.unit.key
        for r in world.ledger.records()
        if str(r.unit.key.address) == GPU
    )
    return found

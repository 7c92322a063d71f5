"""Guests whose end the ledger did not hear of, and who finishes it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import (
    boot,
    ended_guests,
    inventory,
    recovery,
    release,
)
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU, hostdev, xml
from tests.functional.test_hook_flow import Libvirt, deaf, states
from tests.functional.world import OTHER, UUID, World, guest, place, wanted


@pytest.fixture
def libvirt(world: World) -> Libvirt:
    return Libvirt(world)


def end_unheard(libvirt: Libvirt) -> None:
    """The guest ends while the ledger does not answer."""
    context = libvirt.context
    away = SqlLedger(LedgerSettings("sqlite:////nowhere/ledger.sqlite"))
    libvirt.context = dataclasses.replace(context, open_ledger=lambda: away)
    assert libvirt.calls("release") == 0
    libvirt.context = context


def publish(context: HostContext) -> None:
    inventory.publish(context)


def release_it(context: HostContext) -> None:
    recovery.release_ended(context, UUID)


def release_another(context: HostContext) -> None:
    recovery.release_ended(context, OTHER, patience_s=1)


def withdraw(context: HostContext) -> None:
    with pytest.raises(errors.Refused):
        release.withdraw(context, OTHER)


COMMANDS = (publish, release_it, release_another, withdraw)


@pytest.mark.parametrize("command", COMMANDS)
def test_any_command_finishes_what_was_noted(
    world: World, libvirt: Libvirt, command: Callable[[HostContext], None]
) -> None:
    before = world.snapshot()
    libvirt.calls("prepare")
    end_unheard(libvirt)
    assert libvirt.ended == [UUID]
    assert states(world)[GPU] == ("active", UUID)
    acts = Acts()
    command(deaf(world, acts))
    assert "reset" in acts.done
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())


@pytest.mark.parametrize("command", COMMANDS)
def test_any_command_finishes_what_nobody_noted(
    world: World, libvirt: Libvirt, command: Callable[[HostContext], None]
) -> None:
    """As after the host went down under its guests."""
    before = world.snapshot()
    libvirt.calls("prepare")
    acts = Acts()
    command(world.context(acts))
    assert "reset" in acts.done
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())


def test_what_a_hook_only_claimed_is_free_again(
    world: World, libvirt: Libvirt
) -> None:
    world.ledger.claim_units(
        [world.ledger.records()[0].unit.key], UUID, "hook"
    )
    acts = Acts()
    publish(world.context(acts))
    assert world.states() == ["free"] * 3
    assert "reset" not in acts.done


def test_what_is_not_over_stays(
    world: World, libvirt: Libvirt, monkeypatch: pytest.MonkeyPatch
) -> None:
    libvirt.calls("prepare")
    before = world.snapshot()
    # Its group is in use: libvirt need not even be asked.
    world.kernel.held.add(place(GPU))
    publish(deaf(world))
    assert world.snapshot() == before
    world.kernel.held.clear()
    # libvirt has it: it is just starting.
    world.hypervisor.start(guest().text.decode())
    running = world.snapshot()
    publish(world.context())
    assert world.snapshot() == running
    world.hypervisor.destroy(UUID)
    # libvirt is not there.

    def gone() -> AbstractContextManager[Hypervisor]:
        raise errors.Unavailable("libvirt does not answer")

    publish(dataclasses.replace(world.context(), connect=gone))
    assert world.snapshot() == before
    assert any("libvirt does not answer" in line for line in world.said)
    # libvirt never answers, and is asked once for all guests.
    monkeypatch.setattr(ended_guests, "_ANSWER_S", 0.2)
    key = world.ledger.records()[-1].unit.key
    world.ledger.claim_units([key], OTHER, "hook")
    before = world.snapshot()
    asked = []

    def silent() -> AbstractContextManager[Hypervisor]:
        asked.append(OTHER)
        time.sleep(3)
        return gone()

    begun = time.monotonic()
    publish(dataclasses.replace(world.context(), connect=silent))
    assert time.monotonic() - begun < 2 and len(asked) == 1
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())


def test_a_command_that_dies_while_it_asks_ends_no_guest(
    world: World, libvirt: Libvirt
) -> None:
    """The guest runs, and does not hold its group yet."""
    libvirt.calls("prepare")
    devices = hostdev(GPU) + hostdev(AUDIO)
    world.hypervisor.start(guest(devices=devices).text.decode())
    before = world.snapshot()

    def interrupted() -> AbstractContextManager[Hypervisor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(dataclasses.replace(world.context(), connect=interrupted))
    ((entry,), _) = world.ended.entries()
    assert entry.is_suspected
    publish(world.context())
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())
    assert not any("reset" in line for line in world.said)


def test_a_suspended_guest_keeps_its_units(
    world: World, libvirt: Libvirt
) -> None:
    """Nova detaches the functions, and saves the guest to the disk."""
    libvirt.calls("prepare")
    domain = world.hypervisor._connection.defineXML(guest().text.decode())
    try:
        domain.create()
        domain.managedSave()
        before = world.snapshot()
        publish(world.context())
        assert world.snapshot() == before
        domain.managedSaveRemove()
        publish(world.context())
        assert world.states() == ["free"] * 3
    finally:
        domain.undefineFlags(1)


def test_what_an_operator_claimed_stays_his(
    world: World, libvirt: Libvirt
) -> None:
    held = world.ledger.claim(wanted(), UUID)
    functions = [str(f.address) for f in held.units[0].unit.functions]
    libvirt.calls("prepare", xml(*functions, uuid=UUID).encode())
    before = world.snapshot()
    publish(deaf(world))
    assert world.snapshot() == before
    end_unheard(libvirt)
    publish(deaf(world))
    (record,) = world.ledger.allocation(UUID).units
    assert record.state is State.CLAIMED
    assert world.ended.entries() == ((), ())


def test_a_guest_of_ours_keeps_its_units(
    world: World, libvirt: Libvirt
) -> None:
    boot.boot(world.context(), guest(), wanted())
    before = world.snapshot()
    end_unheard(libvirt)
    assert world.ended.entries() == ((), ())
    world.ended.write(UUID)
    publish(world.context())
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())


def test_a_guest_that_runs_is_left_alone_whatever_was_noted(
    world: World, libvirt: Libvirt
) -> None:
    libvirt.calls("prepare")
    devices = hostdev(GPU) + hostdev(AUDIO)
    world.hypervisor.start(guest(devices=devices).text.decode())
    world.kernel.held.add(place(GPU))
    before = world.snapshot()
    world.ended.write(UUID)
    publish(world.context())
    assert world.snapshot() == before
    assert world.ended.entries() == ((), ())


def test_units_that_a_dead_guest_keeps_busy_are_tried_again(
    world: World, libvirt: Libvirt
) -> None:
    before = world.snapshot()
    libvirt.calls("prepare")
    end_unheard(libvirt)
    world.kernel.held.add(place(GPU))
    publish(world.context())
    assert states(world)[GPU] == ("active", UUID)
    assert any(UUID in line and GPU in line for line in world.said)
    world.kernel.held.clear()
    publish(world.context())
    assert world.snapshot() == before


@pytest.mark.parametrize("does_it", [False, True])
def test_a_command_that_dies_leaves_the_rest_to_the_next(
    world: World, libvirt: Libvirt, does_it: bool
) -> None:
    before = world.snapshot()
    libvirt.calls("prepare")
    end_unheard(libvirt)
    whole = Acts()
    publish(deaf(world, whole))
    for number in range(1, len(whole.done) + 1):
        libvirt.calls("prepare")
        end_unheard(libvirt)
        with pytest.raises(Crash):
            publish(deaf(world, Acts(crash_at=number, does_it=does_it)))
        publish(deaf(world))
        assert world.snapshot() == before, whole.done[number - 1]
        assert world.ended.entries() == ((), ())


def test_a_bad_entry_is_told_and_stops_nothing_else(
    world: World, libvirt: Libvirt
) -> None:
    before = world.snapshot()
    libvirt.calls("prepare")
    end_unheard(libvirt)
    folder = world.folder / "ended"
    bad = [f"{n:x}aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11" for n in range(9)]
    for name in bad:
        (folder / name).write_bytes(b"\xff{")
    publish(deaf(world))
    assert world.snapshot() == before
    assert any(bad[0] in line for line in world.said)
    assert sum(f"{folder}/" in line for line in world.said) < len(bad)
    assert sorted(p.name for p in folder.iterdir()) == bad
    assert libvirt.calls("prepare") == 0


def give_back(world: World, libvirt: Libvirt) -> Callable[[str], None]:
    def start(uuid: str) -> None:
        libvirt.ended.append(uuid)
        recovery.release_ended(deaf(world), uuid, patience_s=1)

    return start


@pytest.mark.parametrize("uuid", [UUID, OTHER])
def test_a_start_waits_for_what_was_noted(
    world: World, libvirt: Libvirt, uuid: str
) -> None:
    """The same guest, and the next one that gets its card."""
    libvirt.calls("prepare")
    end_unheard(libvirt)
    text = xml(GPU, AUDIO, uuid=uuid).encode()
    assert libvirt.calls("prepare", text) == 1
    assert libvirt.ended == [UUID]
    assert states(world)[GPU] == ("active", UUID)
    libvirt.context = dataclasses.replace(
        libvirt.context, wait_s=20, hand_over=give_back(world, libvirt)
    )
    assert libvirt.calls("prepare", text) == 0
    assert libvirt.ended == [UUID, uuid]
    assert states(world)[GPU] == ("active", uuid)
    assert world.ended.entries() == ((), ())
    assert sum("reset" in line for line in world.said) >= 1


def test_an_entry_that_nothing_is_left_of_lets_its_guest_start(
    world: World, libvirt: Libvirt
) -> None:
    world.ended.write(UUID)
    assert libvirt.calls("prepare") == 0
    assert world.ended.entries() == ((), ())
    world.ended.write(UUID)
    assert libvirt.calls("reconnect") == 0
    assert world.ended.entries() == ((), ())
    assert states(world)[GPU] == ("active", UUID)


def test_a_start_that_a_recovery_overtakes_waits(
    world: World, libvirt: Libvirt
) -> None:
    """Its entry appears after the ledger was read, before the guest starts."""
    libvirt.calls("prepare")

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.ledger, name)

        def allocation(self, uuid: str) -> Any:
            if not noted:
                noted.append(world.ended.write(UUID))
            return world.ledger.allocation(uuid)

    noted: list[Any] = []
    libvirt.context = dataclasses.replace(
        libvirt.context,
        open_ledger=lambda: Overtaken(),  # type: ignore[arg-type, return-value]
        wait_s=20,
        hand_over=give_back(world, libvirt),
    )
    assert libvirt.calls("prepare") == 0
    assert libvirt.ended == [UUID]
    assert states(world)[GPU] == ("active", UUID)
    assert world.ended.entries() == ((), ())


def test_a_recovery_that_a_start_overtakes_takes_nothing(
    world: World, libvirt: Libvirt
) -> None:
    world.ended.write(UUID)

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.ledger, name)

        def records(self, **how: Any) -> Any:
            if not started:
                started.append(libvirt.calls("prepare"))
            return world.ledger.records(**how)

    started: list[int] = []
    context = dataclasses.replace(
        world.context(),
        ledger=Overtaken(),  # type: ignore[arg-type] # it is one
    )
    world.hypervisor.start(guest().text.decode())
    publish(context)
    assert started == [0]
    assert states(world)[GPU] == ("active", UUID)


def test_a_full_folder_still_hands_over(
    world: World, libvirt: Libvirt, capfd: pytest.CaptureFixture[str]
) -> None:
    libvirt.calls("prepare")
    (world.folder / "ended").write_text("in its place")
    assert libvirt.calls("release") == 0
    assert libvirt.ended == [UUID]
    assert str(world.folder / "ended") in capfd.readouterr().err


def test_one_process_waits_for_all(world: World, libvirt: Libvirt) -> None:
    """Whoever comes meanwhile leaves what ended to it."""
    libvirt.calls("prepare")
    end_unheard(libvirt)
    with world.ended.finishing():
        recovery.release_ended(deaf(world), UUID, patience_s=5)
        assert states(world)[GPU] == ("active", UUID)
    recovery.release_ended(deaf(world), UUID, patience_s=5)
    assert world.states() == ["free"] * 3

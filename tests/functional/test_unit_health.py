"""Cards that get worse: at a release, while they are free, and checked."""

from __future__ import annotations

import dataclasses
import time

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import agent, inventory, release, unit_check
from gpu_passthrough_plugin.flow.agent import Result, UnitCache
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.unit_check import CheckedUnit
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord
from tests.functional.acts import Acts, Crash
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

GPU, AUDIO = place("06:00.0"), place("06:00.1")
UNIT = UnitKey(HOST, GPU)
GOOD = {
    "current_link_speed": "2.5 GT/s PCIe",
    "current_link_width": "16",
    "max_link_speed": "16.0 GT/s PCIe",
    "max_link_width": "16",
    "power_state": "D0",
    "power/runtime_status": "active",
    "reset_method": "flr pm",
    "aer_dev_fatal": "DLP 0\nTOTAL_ERR_FATAL 0",
    "aer_dev_nonfatal": "UnsupReq 0\nTOTAL_ERR_NONFATAL 0",
}
NARROW = {"current_link_width": "4"}
FATAL = {"aer_dev_fatal": "DLP 3\nTOTAL_ERR_FATAL 2"}


def become(world: World, gpu: dict[str, str] | None = None) -> None:
    """Let sysfs show something else of the card's first function."""
    files = dict(world.tree.files)
    files["proc/sys/kernel/random/boot_id"] = b"first\n"
    for address in (GPU, AUDIO):
        folder = world.tree.real(f"sys/bus/pci/devices/{address}")
        values = GOOD | ((gpu or {}) if address == GPU else {})
        for name, text in values.items():
            files[f"{folder}/{name}"] = f"{text}\n".encode()
    world.tree = RecordedTree(files, world.tree.links)


@pytest.fixture
def healthy(world: World) -> World:
    become(world)
    return world


def record(world: World) -> UnitRecord:
    return world.ledger.unit(UNIT)


def released(world: World) -> UnitRecord:
    release.release(world.context(), UUID)
    return record(world)


def booted(world: World) -> None:
    boot(world.context(), guest(), wanted())


def test_a_card_that_is_as_before_is_free(healthy: World) -> None:
    booted(healthy)
    # Slower, as an idle card is; and requests that it does not support.
    become(
        healthy,
        gpu={
            "current_link_speed": "16.0 GT/s PCIe",
            "aer_dev_nonfatal": "UnsupReq 5\nTOTAL_ERR_NONFATAL 5",
        },
    )
    assert released(healthy).state is State.FREE


@pytest.mark.parametrize(
    ("worse", "text"), [(NARROW, "4 lanes"), (FATAL, "DLP 3")]
)
def test_a_card_that_got_worse_under_its_guest_is_suspect(
    healthy: World, worse: dict[str, str], text: str
) -> None:
    booted(healthy)
    become(healthy, gpu=worse)
    unit = released(healthy)
    assert unit.is_suspect and text in unit.reason
    assert unit.state is State.QUARANTINED
    # No one else is given it; the others are as they were.
    boot(healthy.context(), guest(OTHER, "other"), wanted("gpu:2"))
    assert record(healthy).is_suspect


def test_what_is_not_clean_counts_for_more(healthy: World) -> None:
    booted(healthy)
    become(healthy, gpu=NARROW)
    healthy.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    unit = released(healthy)
    assert unit.state is State.QUARANTINED and not unit.is_suspect
    assert "reads ff" in unit.reason


def test_nothing_is_judged_where_that_is_off(healthy: World) -> None:
    booted(healthy)
    become(healthy, gpu=NARROW | FATAL)
    context = dataclasses.replace(healthy.context(), health=None)
    release.release(context, UUID)
    assert record(healthy).state is State.FREE


def test_a_person_who_clears_it_is_believed(healthy: World) -> None:
    booted(healthy)
    become(healthy, gpu=NARROW)
    assert released(healthy).is_suspect
    inventory.clear(healthy.context(), UNIT)
    assert passes(healthy) == []
    booted(healthy)
    assert released(healthy).state is State.FREE


def passes(
    world: World, context: HostContext | None = None
) -> list[tuple[Case, Act, Result]]:
    outcomes = agent.run(context or world.context(), UnitCache())
    return [(o.finding.case, o.finding.act, o.result) for o in outcomes]


def test_a_free_card_that_gets_worse_is_quarantined(healthy: World) -> None:
    assert passes(healthy) == []
    become(healthy, gpu=FATAL)
    dry = agent.run(healthy.context(), UnitCache(), is_dry=True)
    assert [o.result for o in dry] == [Result.PLANNED]
    assert record(healthy).state is State.FREE
    assert passes(healthy) == [
        (Case.SUSPECT, Act.SUSPECT, Result.DONE),
        (Case.SUSPECT, Act.NONE, Result.LEFT),
    ]
    assert record(healthy).is_suspect
    assert passes(healthy) == [(Case.SUSPECT, Act.NONE, Result.LEFT)]


def test_a_running_guests_card_is_reported(healthy: World) -> None:
    booted(healthy)
    become(healthy, gpu=NARROW)
    assert passes(healthy) == [(Case.SUSPECT, Act.NONE, Result.LEFT)]
    assert record(healthy).state is State.ACTIVE
    assert healthy.guests() == {UUID}


def test_a_pass_remembers_a_free_card_once(healthy: World) -> None:
    folder = healthy.folder / "health"
    assert not folder.exists()
    agent.run(healthy.context(), UnitCache(), is_dry=True)
    assert not folder.exists()
    passes(healthy)
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert len(before) == 3
    passes(healthy)
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_a_suspended_card_is_not_judged_in_a_pass(healthy: World) -> None:
    passes(healthy)
    asleep = {"power_state": "D3cold", "power/runtime_status": "suspended"}
    become(healthy, gpu=asleep | NARROW)
    assert passes(healthy) == []
    become(healthy, gpu={"power/runtime_status": "error"})
    assert passes(healthy)[0] == (Case.SUSPECT, Act.SUSPECT, Result.DONE)


def test_another_boot_is_another_beginning(healthy: World) -> None:
    passes(healthy)
    become(healthy, gpu=FATAL | NARROW)
    files = dict(healthy.tree.files)
    files["proc/sys/kernel/random/boot_id"] = b"second\n"
    healthy.tree = RecordedTree(files, healthy.tree.links)
    assert passes(healthy) == []


def results(checked: CheckedUnit) -> list[bool | None]:
    return [step.is_passed for step in checked.steps]


def suspect(world: World) -> None:
    booted(world)
    become(world, gpu=FATAL)
    assert released(world).is_suspect


def test_a_check_that_passes_frees_a_suspect_if_asked(healthy: World) -> None:
    before = healthy.snapshot()
    suspect(healthy)
    kept = healthy.snapshot()
    checked = unit_check.check(healthy.context(), UNIT)
    assert results(checked) == [True] * 4
    assert record(healthy).is_suspect
    assert healthy.snapshot() == kept
    checked = unit_check.check(healthy.context(), UNIT, clears=True)
    assert checked.record.state is State.FREE
    assert healthy.snapshot() == before
    (*_, last) = healthy.ledger.events(EventQuery(HOST, str(GPU))).events
    assert "check passed" in last.transition.reason
    assert f"flr reset of {GPU}: OK" in last.transition.reason
    # What was counted before is forgiven.
    assert passes(healthy) == []


def test_a_check_that_fails_says_at_which_step(healthy: World) -> None:
    suspect(healthy)
    become(healthy, gpu=FATAL | NARROW)
    checked = unit_check.check(healthy.context(), UNIT, clears=True)
    assert results(checked) == [True, True, True, False]
    assert "check failed: link and errors" in record(healthy).reason
    healthy.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    checked = unit_check.check(healthy.context(), UNIT, clears=True)
    assert results(checked) == [True, True, False, None]
    healthy.kernel.identities[GPU] = Identity(0x10DE, 0x1430)
    healthy.kernel.refuses = {
        ("flr reset", None),
        ("pm reset", None),
        ("reset", None),
    }
    checked = unit_check.check(healthy.context(), UNIT, clears=True)
    assert results(checked)[:2] == [True, False]
    assert record(healthy).reason.count("check failed") == 1


def test_a_free_unit_that_fails_is_quarantined(healthy: World) -> None:
    passes(healthy)
    assert unit_check.check(healthy.context(), UNIT).is_passed
    assert record(healthy).state is State.FREE
    become(healthy, gpu=NARROW)
    assert not unit_check.check(healthy.context(), UNIT).is_passed
    assert record(healthy).is_suspect


def test_what_is_not_checked(healthy: World) -> None:
    context = healthy.context()
    assert "not suspect" in refused(
        lambda: unit_check.check(context, UNIT, clears=True)
    )
    elsewhere = UnitKey("other", GPU)
    assert "other" in refused(unit_check.check, context, elsewhere)
    inventory.quarantine(context, UNIT, "loose cable")
    assert "loose cable" in refused(
        lambda: unit_check.check(context, UNIT, clears=True)
    )
    assert unit_check.check(context, UNIT).is_passed
    assert record(healthy).reason == "loose cable"
    inventory.clear(context, UNIT)
    booted(healthy)
    assert "its release" in refused(unit_check.check, context, UNIT)


@pytest.mark.parametrize("is_suspect", [False, True])
def test_a_check_that_is_killed_anywhere(
    healthy: World, is_suspect: bool
) -> None:
    """The next one returns the functions to their drivers."""
    if is_suspect:
        suspect(healthy)
    unit_check.check(healthy.context(), UNIT)
    kept = healthy.snapshot()
    acts = Acts()
    unit_check.check(healthy.context(acts), UNIT)
    for number in range(1, len(acts.done) + 1):
        with pytest.raises(Crash):
            unit_check.check(healthy.context(Acts(crash_at=number)), UNIT)
        assert unit_check.check(healthy.context(), UNIT).is_passed
        assert healthy.snapshot() == kept


def canary(world: World) -> HostContext:
    context = world.context()
    assert context.health
    return dataclasses.replace(
        context,
        health=dataclasses.replace(context.health, has_canary=True),
    )


def test_the_agent_checks_a_suspect_once(healthy: World) -> None:
    suspect(healthy)
    assert passes(healthy, canary(healthy)) == [
        (Case.SUSPECT, Act.CHECK, Result.DONE)
    ]
    assert record(healthy).state is State.FREE
    # Suspect again soon: that is for a person.
    booted(healthy)
    become(healthy, gpu={"aer_dev_fatal": "DLP 9\nTOTAL_ERR_FATAL 9"})
    assert released(healthy).is_suspect
    assert passes(healthy, canary(healthy)) == [
        (Case.SUSPECT, Act.NONE, Result.LEFT)
    ]


def test_the_agent_waits_after_a_check_that_failed(healthy: World) -> None:
    booted(healthy)
    become(healthy, gpu=NARROW)
    assert released(healthy).is_suspect
    begun_s = time.monotonic()
    # As it was suspect, and as its check failed.
    assert passes(healthy, canary(healthy)) == [
        (Case.SUSPECT, Act.CHECK, Result.FAILED),
        (Case.SUSPECT, Act.NONE, Result.LEFT),
    ]
    assert passes(healthy, canary(healthy)) == [
        (Case.SUSPECT, Act.NONE, Result.LEFT)
    ]
    assert time.monotonic() - begun_s < 20

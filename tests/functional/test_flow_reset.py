"""Which resets a release tries, and what its event tells of them."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import (
    inventory,
    release,
    unit_check,
    unit_cleaning,
)
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.host.sanitise_command import SanitiseCommand
from gpu_passthrough_plugin.model import request
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.sanitising import SanitiseSettings
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts
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
MI300X = nova_alias.parse_aliases(
    ['{"name": "mi", "vendor_id": "1002", "product_id": "74a1"}']
)


@pytest.fixture
def resettable(world: World) -> World:
    """A guest has the card, whose functions have resets of their own."""
    tree, files = world.tree, {}
    for address in (GPU, AUDIO):
        folder = tree.real(f"sys/bus/pci/devices/{address}")
        files[f"{folder}/reset_method"] = b"flr pm bus\n"
        files[f"{folder}/current_link_speed"] = b"8.0 GT/s PCIe\n"
        files[f"{folder}/current_link_width"] = b"16\n"
    world.tree = RecordedTree({**tree.files, **files}, tree.links)
    boot(world.context(), guest(), wanted())
    return world


def last_event(world: World) -> str:
    """Why the unit has its present state."""
    events = world.ledger.events(EventQuery(consumer=UUID)).events
    return events[-1].transition.reason


def released(world: World) -> State:
    release.release(world.context(), UUID)
    return world.ledger.unit(UNIT).state


def test_the_event_has_each_method_and_the_link(resettable: World) -> None:
    assert released(resettable) is State.FREE
    reason = last_event(resettable)
    for address in (GPU, AUDIO):
        assert f"flr reset of {address}: OK" in reason
        assert f"link of {address}: 8.0 GT/s x16" in reason
    assert resettable.kernel.reset_groups == []


def test_a_method_that_fails_is_followed_by_the_next(
    resettable: World,
) -> None:
    resettable.kernel.refuses = {("flr reset", GPU)}
    assert released(resettable) is State.FREE
    reason = last_event(resettable)
    assert f"flr reset of {GPU} failed" in reason
    assert f"pm reset of {GPU}: OK" in reason
    assert resettable.kernel.reset_groups == []


def test_the_bus_is_the_last(resettable: World) -> None:
    resettable.kernel.refuses = {("flr reset", GPU), ("pm reset", GPU)}
    assert released(resettable) is State.FREE
    assert resettable.kernel.reset_groups == [18]
    assert f"bus reset of {GPU}" in last_event(resettable)


def test_nothing_more_is_tried_where_the_kernel_hangs(
    resettable: World,
) -> None:
    """The lock is free then, and the reason names the process."""

    def hangs(name: str) -> None:
        if name == "reset":
            raise errors.Stuck("process 77 has not finished it")

    acts = Acts(before=hangs)
    release.release(resettable.context(acts), UUID)
    record = resettable.ledger.unit(UNIT)
    assert record.state is State.QUARANTINED
    assert "process 77" in record.reason
    assert acts.done.count("reset") == 1
    with resettable.lock():
        pass


def booted_as(world: World, boot_id: str) -> None:
    """The host is in this boot, with an MI300X in place of its card."""
    tree = world.tree
    files = {
        **tree.files,
        "proc/sys/kernel/random/boot_id": f"{boot_id}\n".encode(),
    }
    folder = tree.real(f"sys/bus/pci/devices/{GPU}")
    for name in ("uevent", "modalias", "vendor", "device", "config"):
        text = files[f"{folder}/{name}"]
        for old, new in (
            (b"10DE:1430", b"1002:74A1"),
            (b"v000010DEd00001430", b"v00001002d000074A1"),
            (b"0x10de", b"0x1002"),
            (b"0x1430", b"0x74a1"),
            (b"\xde\x10\x30\x14", b"\x02\x10\xa1\x74"),
        ):
            text = text.replace(old, new)
        files[f"{folder}/{name}"] = text
    world.tree = RecordedTree(files, tree.links)
    world.kernel.identities[GPU] = Identity(0x1002, 0x74A1)


def test_what_works_once_a_boot_is_not_offered_again(world: World) -> None:
    """amd/MxGPU-Virtualization#25: config space reads ff after a reset."""
    booted_as(world, "first")
    context = world.context()
    context.ledger.publish(HOST, context.units())
    inventory.clear(context, UNIT)
    boot(context, guest(), request.parse("mi:1", MI300X))
    assert released(world) is State.QUARANTINED
    assert "before the host reboots" in world.ledger.unit(UNIT).reason
    message = refused(inventory.clear, world.context(), UNIT)
    assert "reboot the host" in message
    assert world.ledger.unit(UNIT).state is State.QUARANTINED
    world.kernel.identities[GPU] = Identity(0xFFFF, 0xFFFF)
    message = refused(inventory.clear, world.context(), UNIT)
    assert "does not respond" in message
    booted_as(world, "second")
    assert inventory.clear(world.context(), UNIT).state is State.FREE


def test_what_a_reset_kills_is_not_reset_to_check_it(world: World) -> None:
    """A check, or one that Nova's guests had, would end a healthy card."""
    booted_as(world, "first")
    context = world.context()
    context.ledger.publish(HOST, context.units())
    inventory.clear(context, UNIT)
    acts = Acts()
    assert "resets it" in refused(unit_check.check, world.context(acts), UNIT)
    unit = world.ledger.unit(UNIT).unit
    for _ in range(2):
        faults = unit_cleaning.clean(world.context(acts), unit)
        assert "before the host reboots" in "; ".join(faults)
    booted_as(world, "second")
    assert unit_cleaning.clean(world.context(acts), unit) == ()
    assert world.journal.instances() == ()
    assert "reset" not in acts.done


def test_a_boot_that_is_unknown_is_no_other_boot(world: World) -> None:
    booted_as(world, "first")
    context = world.context()
    context.ledger.publish(HOST, context.units())
    inventory.clear(context, UNIT)
    boot(context, guest(), request.parse("mi:1", MI300X))
    released(world)
    files = dict(world.tree.files)
    del files["proc/sys/kernel/random/boot_id"]
    world.tree = RecordedTree(files, world.tree.links)
    assert "unknown" in refused(inventory.clear, world.context(), UNIT)


def with_command(world: World, text: str) -> HostContext:
    path = world.folder / "wipe"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    settings = SanitiseSettings((str(path),), 20)
    return dataclasses.replace(
        world.context(), sanitiser=SanitiseCommand(settings)
    )


def test_what_wipes_nothing_is_said(resettable: World) -> None:
    released(resettable)
    assert "not sanitised" in last_event(resettable)


def test_a_command_wipes_a_unit_between_two_resets(resettable: World) -> None:
    shown = resettable.folder / "shown"
    context = with_command(resettable, f"env | grep GPU_ >{shown}")
    release.release(context, UUID)
    assert resettable.ledger.unit(UNIT).state is State.FREE
    assert "sanitised by " in last_event(resettable)
    assert resettable.said.count(f"flr reset of {GPU}: OK") == 2
    lines = dict(
        line.removeprefix("GPU_PASSTHROUGH_").split("=", 1)
        for line in shown.read_text().splitlines()
    )
    assert lines == {
        "HOST": HOST,
        "ADDRESSES": f"{GPU} {AUDIO}",
        "GROUP": "18",
        "VENDOR": "10de",
        "PRODUCT": "1430",
        "CONSUMER": UUID,
        "CONSUMER_NAME": "guest",
        "PREVIOUS_CONSUMER": "",
    }
    boot(resettable.context(), guest(OTHER, "other"), wanted())
    release.release(with_command(resettable, f"env >{shown}"), OTHER)
    assert f"PREVIOUS_CONSUMER={UUID}\n" in shown.read_text()


def test_a_unit_that_was_not_wiped_is_quarantined(resettable: World) -> None:
    release.release(with_command(resettable, "echo no; exit 1"), UUID)
    record = resettable.ledger.unit(UNIT)
    assert record.state is State.QUARANTINED
    assert "not sanitised" in record.reason and "no" in record.reason

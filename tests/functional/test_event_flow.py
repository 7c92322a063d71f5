"""The story of a guest: what booting, the hook and a release leave."""

from __future__ import annotations

import time
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.flow import release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.model.event import Event, EventQuery
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from tests.functional.hooked import AUDIO, GPU, ME, HookedHost, xml
from tests.functional.world import UUID, World, guest, wanted

_WAIT_S = 60


def events(ledger: LedgerDriver, consumer: str) -> list[Event]:
    return list(ledger.events(EventQuery(consumer=consumer)).events)


def steps(listed: list[Event]) -> list[str]:
    return [event.transition.after for event in listed]


def test_a_guest_that_is_booted_and_released(world: World) -> None:
    context = world.context()
    name = guest().name
    boot(context, guest(), wanted())
    release.release(context, UUID)
    listed = events(context.ledger, UUID)
    assert steps(listed) == [
        "claimed",
        "preparing",
        "active",
        "releasing",
        "sanitising",
        "free",
    ]
    assert {event.consumer_name for event in listed} == {name}
    assert listed == events(context.ledger, name)


def test_a_guest_that_libvirt_starts(tmp_path: Path) -> None:
    host = HookedHost(tmp_path)
    host.install()
    whole = xml(GPU, AUDIO)
    assert host.call(whole).returncode == 0
    assert host.call(whole, "release", "end").returncode == 0
    ledger = host.ledger()
    listed = events(ledger, ME)
    until = time.monotonic() + _WAIT_S
    while "releasing" not in steps(listed) and time.monotonic() < until:
        time.sleep(0.1)
        listed = events(ledger, ME)
    assert steps(listed)[:3] == ["claimed", "active", "releasing"]
    assert [event.actor.command for event in listed[:3]] == [
        "hook prepare",
        "hook prepare",
        "hook release",
    ]
    assert listed[0].transition.reason == HOOK_REQUEST
    # libvirt's name of it.
    assert {event.consumer_name for event in listed} == {"guest"}
    assert all(event.actor.uid is not None for event in listed)
    ledger.close()

"""Units of guests that run: plugged in and out whole, and nothing forced.

libvirt's driver for tests plugs nothing; what it would do is done in its
place.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import attach, recovery
from gpu_passthrough_plugin.flow.attach import Scope
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import AUDIO, GPU
from tests.functional.test_agent import GONE, one_pass
from tests.functional.test_attach import (
    attached,
    define,
    definition,
    detached,
    functions,
)
from tests.functional.test_flow_interrupted import recover
from tests.functional.test_hook_flow import WHOLE, Libvirt
from tests.functional.world import UUID, World, guest, place, refused, wanted

BOTH = {place(GPU), place(AUDIO)}


def running(world: World, *, is_defined: bool = True) -> str:
    """Start a guest; return its definition, if it has one."""
    if not is_defined:
        world.hypervisor.start(guest().text.decode())
        return ""
    xml = define(world)
    with world.context().connect() as hypervisor:
        hypervisor.start_defined(UUID)
    return xml


def stop(world: World) -> None:
    with world.context().connect() as hypervisor:
        hypervisor.destroy(UUID)


def live(world: World) -> set[object]:
    """The host's functions that the guest runs with."""
    with world.context().connect() as hypervisor:
        xml = hypervisor.live_xml(UUID)
    return (
        {place(text) for text, _ in functions(xml or "<domain/>")}
        if (xml)
        else set()
    )


def require_safe(world: World) -> None:
    """No unit is offered of which the guest has a function."""
    has = live(world)
    for record in world.ledger.records():
        if record.state in (State.FREE, State.QUARANTINED):
            assert has.isdisjoint(f.address for f in record.unit.functions)


@pytest.mark.parametrize("is_defined", [True, False])
def test_plugged_in_and_out(world: World, is_defined: bool) -> None:
    before = world.snapshot()
    xml = running(world, is_defined=is_defined)
    held = attach.attach(world.context(), UUID, wanted())
    assert held.states == (State.ACTIVE,)
    assert live(world) == BOTH
    if is_defined:
        assert functions(definition(world)) == [(GPU, True), (AUDIO, True)]
    assert one_pass(world) == []
    detached(world.context())
    assert live(world) == set()
    if is_defined:
        assert definition(world) == xml
    assert world.guests() == {UUID}
    stop(world)
    assert world.snapshot() == before


def test_only_one_of_both(world: World) -> None:
    before, xml = world.snapshot(), running(world)
    context = world.context()
    attach.attach(context, UUID, wanted(), Scope.CONFIG)
    assert (live(world), world.states()[0]) == (set(), "claimed")
    assert functions(definition(world)) != []
    detached(context)
    attach.attach(context, UUID, wanted(), Scope.LIVE)
    assert (live(world), world.states()[0]) == (BOTH, "active")
    assert definition(world) == xml
    stop(world)
    # The hook tells of its end; without it, the agent finds it.
    hook = Libvirt(world)
    assert hook.calls("release", WHOLE) == 0
    assert hook.ended == [UUID]
    recovery.release_ended(context, UUID)
    assert world.snapshot() == before


def test_a_guest_that_ends_with_what_was_plugged_in(world: World) -> None:
    before = world.snapshot()
    running(world, is_defined=False)
    attached(world.context())
    stop(world)
    assert one_pass(world) == [GONE]
    assert world.snapshot() == before


def test_one_that_was_plugged_in_starts_again_by_its_definition(
    world: World,
) -> None:
    before, xml = world.snapshot(), running(world)
    attached(world.context())
    stop(world)
    assert one_pass(world) == [GONE]
    assert world.states()[0] == "claimed"
    assert world.snapshot().bindings == before.bindings
    with world.context().connect() as hypervisor:
        hypervisor.start_defined(UUID)
    assert live(world) == BOTH
    # Of what libvirt started: unplugged, libvirt returns it itself.
    detached(world.context())
    assert (live(world), definition(world)) == (set(), xml)
    stop(world)
    assert world.snapshot() == before


def test_a_function_that_finds_no_slot(world: World) -> None:
    before, xml = world.snapshot(), running(world)
    world.kernel.refuses.add(("plug", place(AUDIO)))
    message = refused(attached, world.context())
    for datum in (f"plug {AUDIO}", "no slot", "--config", "gave up", GPU):
        assert datum in message or datum in "".join(world.said)
    assert (live(world), definition(world)) == (set(), xml)
    stop(world)
    assert world.snapshot() == before


def test_a_guest_that_gives_nothing_up(world: World) -> None:
    before, xml = world.snapshot(), running(world)
    attached(world.context())
    settled = world.snapshot()
    world.kernel.refuses.add(("unplug", place(AUDIO)))
    for _ in range(2):
        message = refused(detached, world.context())
        assert AUDIO in message and "stay active" in message
        assert live(world) == {place(AUDIO)}
        assert world.snapshot() == settled
        require_safe(world)
    world.kernel.refuses.clear()
    detached(world.context())
    assert (live(world), definition(world)) == (set(), xml)
    stop(world)
    assert world.snapshot() == before


def test_a_rollback_that_the_guest_does_not_let_through(world: World) -> None:
    """Its unit stays held, and other commands go on."""
    before = world.snapshot()
    running(world, is_defined=False)
    world.kernel.refuses.add(("plug", place(AUDIO)))
    world.kernel.refuses.add(("unplug", place(GPU)))
    attach_wait = attach._ROLLBACK_WAIT_S
    attach._ROLLBACK_WAIT_S = 0
    try:
        message = refused(attached, world.context())
    finally:
        attach._ROLLBACK_WAIT_S = attach_wait
    assert "incomplete" in message and GPU in message
    for _ in range(2):
        recover(world.context())
        assert (world.states()[0], live(world)) == ("preparing", {place(GPU)})
        assert any(GPU in line for line in world.said)
    stop(world)
    recover(world.context())
    assert world.snapshot() == before


@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("act", [attached, detached])
def test_one_that_dies_at_each_act(
    world: World, act: Callable[[HostContext], None], does_it: bool
) -> None:
    """Completed or undone by the next command; the guest runs on."""
    xml = running(world)
    bare = world.snapshot()
    number, is_over, ends = 0, False, set()
    while not is_over:
        number += 1
        if act is detached:
            attached(world.context())
        acts = Acts(crash_at=number, does_it=does_it)
        try:
            act(world.context(acts))
            is_over = True
        except Crash:
            require_safe(world)
            recover(world.context())
        instance = world.journal.read(UUID)
        require_safe(world)
        assert world.guests() == {UUID}
        ends.add(instance is not None)
        if instance is not None:
            assert instance.phase is Phase.ATTACHED, acts.done
            assert world.states() == ["active", "free", "free"]
            # A detach may have come to a part of it.
            assert act is detached or live(world) == BOTH
            assert len(functions(definition(world))) == 2
            detached(world.context())
        assert (live(world), world.snapshot()) == (set(), bare), acts.done
        assert definition(world) == xml
    assert ends == {False, True}


def test_each_plug_that_fails_is_undone(world: World) -> None:
    xml = running(world)
    before = world.snapshot()
    number, is_over = 0, False
    while not is_over:
        number += 1
        acts = Acts(fail_at=number)
        try:
            attached(world.context(acts))
            is_over = True
        except errors.Unavailable:
            assert (live(world), world.snapshot()) == (set(), before), (
                acts.done
            )
            assert definition(world) == xml
    assert acts.done.count("plug") == 2

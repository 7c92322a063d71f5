"""Whatever fails is undone; whatever dies is finished or undone later."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.instance import Phase
from tests.functional.acts import Acts, Crash
from tests.functional.hooked import GPU, hostdev
from tests.functional.world import UUID, World, guest, wanted

# What a boot of one card does, in this order.
BOOT = (
    ("journal", None),
    ("claim", "claim"),
    ("journal", "prepare"),
    ("move to preparing", "prepare"),
    ("prepare", "bind"),
    ("rebind", "bind"),
    ("rebind", "bind"),
    ("journal", "start"),
    ("start", "start"),
    ("move to active", "activate"),
    ("journal", "activate"),
)


def start(context: HostContext) -> None:
    boot(context, guest(), wanted())


def release_guest(context: HostContext) -> None:
    release.release(context, UUID)


def recover(context: HostContext) -> None:
    with locked_and_recovered(context):
        pass


def crash(
    world: World, act: Callable[[HostContext], None], acts: Acts
) -> bool:
    """Whether the process died at it."""
    try:
        act(world.context(acts))
    except Crash:
        return True
    return False


def end(world: World) -> None:
    """Release what was finished, if it was."""
    instance = world.journal.read(UUID)
    if instance is not None and instance.phase is Phase.ACTIVE:
        assert world.states() == ["active", "free", "free"]
        assert world.guests() == {UUID}
        release_guest(world.context())


def test_what_a_boot_does(world: World) -> None:
    acts = Acts()
    start(world.context(acts))
    assert acts.done == [name for name, _ in BOOT]


@pytest.mark.parametrize("keeps_claim", [False, True])
def test_each_act_of_a_boot_that_fails_is_undone(
    world: World, keeps_claim: bool
) -> None:
    if keeps_claim:
        world.ledger.claim(wanted(), UUID)
    before = world.snapshot()
    for number, (name, step) in enumerate(BOOT, 1):
        with pytest.raises(errors.Unavailable) as caught:
            start(world.context(Acts(fail_at=number)))
        message = str(caught.value)
        if step is None:
            assert message == "no journal today"
        else:
            assert message.startswith(
                f"boot failed at step '{step}': no {name} today; rolled back: "
            )
        assert world.snapshot() == before, (number, name)
    start(world.context(Acts(fail_at=len(BOOT) + 1)))


def test_what_a_failed_boot_says_was_undone(world: World) -> None:
    def undone(number: int) -> str:
        with pytest.raises(errors.Unavailable) as caught:
            start(world.context(Acts(fail_at=number)))
        return str(caught.value).partition("; rolled back: ")[2]

    free = "unit hyhive/0000:06:00.0 is free"
    audio = "0000:06:00.1 is back on snd_hda_intel"
    card = "0000:06:00.0 is back on nouveau"
    assert undone(2) == "nothing was changed"
    assert undone(3) == free
    assert undone(7) == f"{audio}, {card}, {free}"
    assert undone(9) == f"{audio}, {card}, {free}"
    assert undone(10) == f"guest powered off, {audio}, {card}, {free}"
    world.ledger.claim(wanted(), UUID)
    assert undone(3) == "nothing was changed"
    assert undone(7).endswith("unit hyhive/0000:06:00.0 is claimed")


def test_an_undoing_that_fails_says_so_and_is_finished_later(
    world: World,
) -> None:
    before = world.snapshot()
    world.kernel.refuses.add(("bind to vfio-pci", None))
    world.kernel.refuses.add(("bind to nouveau", None))
    with pytest.raises(errors.Unavailable) as caught:
        start(world.context())
    message = str(caught.value)
    assert message.startswith("boot failed at step 'bind': ")
    assert "cannot return 0000:06:00.0 to nouveau" in message
    world.kernel.refuses.clear()
    inventory.clear(world.context(), world.ledger.records()[0].unit.key)
    assert world.snapshot() == before


def test_a_ledger_that_is_gone_while_undoing(world: World) -> None:
    before = world.snapshot()
    failing = itertools.count()

    def fail(act: str) -> None:
        if act.startswith("move to") and next(failing) > 0:
            raise errors.Unavailable("no ledger today")
        if act == "start":
            raise errors.Unavailable("no guest today")

    with pytest.raises(errors.Unavailable) as caught:
        start(world.context(Acts(before=fail)))
    assert "'start': no guest today" in str(caught.value)
    assert "no ledger today" in str(caught.value)
    recover(world.context())
    assert world.snapshot() == before


@pytest.mark.parametrize("keeps_claim", [False, True])
@pytest.mark.parametrize("does_it", [False, True])
def test_a_boot_that_dies_at_each_act(
    world: World, does_it: bool, keeps_claim: bool
) -> None:
    """Finished where the guest runs with all it claimed, else undone."""
    if keeps_claim:
        world.ledger.claim(wanted(), UUID)
    before = world.snapshot()
    finished = []
    for number, (name, _) in enumerate(BOOT, 1):
        assert crash(world, start, Acts(crash_at=number, does_it=does_it))
        recover(world.context())
        if world.guests():
            finished.append(number)
            end(world)
            if keeps_claim:
                world.ledger.claim(wanted(), UUID)
        assert world.snapshot() == before, (number, name)
    # From the guest's start on; the last act but one is the ledger's.
    assert finished == ([9, 10, 11] if does_it else [10, 11])


@pytest.mark.parametrize("restores", [False, True])
@pytest.mark.parametrize("does_it", [False, True])
def test_a_release_that_dies_at_each_act(
    world: World, does_it: bool, restores: bool
) -> None:
    """Finished by the next command, as the release would have been."""

    def context(acts: Acts | None = None) -> HostContext:
        return dataclasses.replace(
            world.context(acts), restores_drivers=restores
        )

    if not restores:
        start(context())
        release_guest(context())
    before = world.snapshot()
    start(context())
    whole = Acts()
    release_guest(context(whole))
    assert world.snapshot() == before
    for number in range(1, len(whole.done) + 1):
        start(context())
        with pytest.raises(Crash):
            release_guest(context(Acts(crash_at=number, does_it=does_it)))
        recover(context())
        if number == 1 and not does_it:
            # Nothing was begun.
            assert world.guests() == {UUID}
            release_guest(context())
        assert world.snapshot() == before, whole.done[number - 1]


@pytest.mark.parametrize("does_it", [False, True])
def test_a_release_that_dies_is_finished_by_another(
    world: World, does_it: bool
) -> None:
    """By the same command, wherever it died."""
    before = world.snapshot()
    start(world.context())
    whole = Acts()
    release_guest(world.context(whole))
    for number in range(1, len(whole.done) + 1):
        start(world.context())
        with pytest.raises(Crash):
            release_guest(
                world.context(Acts(crash_at=number, does_it=does_it))
            )
        if world.journal.read(UUID):
            release_guest(world.context())
        else:
            with pytest.raises(errors.Refused, match="holds nothing"):
                release_guest(world.context())
        assert world.snapshot() == before, whole.done[number - 1]


def test_a_unit_that_was_found_clean_is_not_reset_again(world: World) -> None:
    """Its functions may be at work for the host again."""
    start(world.context())
    whole = Acts()
    release_guest(world.context(whole))
    first = whole.done.index("rebind") + 1
    for number in range(first, len(whole.done) + 1):
        start(world.context())
        assert crash(world, release_guest, Acts(crash_at=number, does_it=True))
        acts = Acts()
        recover(world.context(acts))
        assert "reset" not in acts.done, whole.done[number - 1]


def test_a_recovery_restores_drivers_as_the_operator_wants(
    world: World,
) -> None:
    def context(acts: Acts | None = None) -> HostContext:
        return dataclasses.replace(world.context(acts), restores_drivers=False)

    before = world.snapshot()
    with pytest.raises(Crash):
        start(context(Acts(crash_at=9)))
    recover(context())
    assert world.snapshot() == before
    start(context())
    with pytest.raises(Crash):
        release_guest(context(Acts(crash_at=2)))
    recover(context())
    now = world.snapshot()
    assert now.ledger == before.ledger
    assert now.bindings != before.bindings


@pytest.mark.parametrize("does_it", [False, True])
def test_a_recovery_that_dies_at_each_act(world: World, does_it: bool) -> None:
    """Of a boot that got as far as a guest which is gone by now."""
    before = world.snapshot()

    def half_done() -> None:
        assert crash(world, start, Acts(crash_at=9, does_it=True))
        world.hypervisor.destroy(UUID)

    half_done()
    whole = Acts()
    recover(world.context(whole))
    assert "reset" in whole.done
    assert world.snapshot() == before
    for number in range(1, len(whole.done) + 1):
        half_done()
        acts = Acts(crash_at=number, does_it=does_it)
        assert crash(world, recover, acts)
        recover(world.context())
        assert world.snapshot() == before, whole.done[number - 1]


@pytest.mark.parametrize("does_it", [False, True])
def test_a_quarantine_that_dies_at_each_act(
    world: World, does_it: bool
) -> None:
    before = world.snapshot()
    unit = world.ledger.records()[0].unit
    gpu = unit.key.address
    whole = Acts()
    world.kernel.refuses.add(("reset", gpu))
    start(world.context())
    release_guest(world.context(whole))
    quarantined = world.snapshot()
    assert len(quarantined.journal) == 1

    def clear() -> None:
        world.kernel.refuses.clear()
        inventory.clear(world.context(), unit.key)
        world.kernel.refuses.add(("reset", gpu))

    clear()
    for number in range(2, len(whole.done) + 1):
        start(world.context())
        with pytest.raises(Crash):
            release_guest(
                world.context(Acts(crash_at=number, does_it=does_it))
            )
        recover(world.context())
        now = world.snapshot()
        assert now.bindings == quarantined.bindings
        assert now.ledger == quarantined.ledger
        assert [i.uuid for i in now.journal] == [
            i.uuid for i in quarantined.journal
        ]
        clear()
        assert world.snapshot() == before, whole.done[number - 1]


@pytest.mark.parametrize("does_it", [False, True])
def test_a_clearing_that_dies_at_each_act(world: World, does_it: bool) -> None:
    before = world.snapshot()
    unit = world.ledger.records()[0].unit

    def quarantine_card() -> None:
        world.kernel.refuses.add(("reset", unit.key.address))
        start(world.context())
        release_guest(world.context())
        world.kernel.refuses.clear()

    def clear(context: HostContext) -> None:
        inventory.clear(context, unit.key)

    quarantine_card()
    whole = Acts()
    clear(world.context(whole))
    for number in range(1, len(whole.done) + 1):
        quarantine_card()
        assert crash(world, clear, Acts(crash_at=number, does_it=does_it))
        if world.states()[0] != "free":
            clear(world.context())
        assert world.snapshot() == before, whole.done[number - 1]


def test_ctrl_c_undoes_a_boot(world: World) -> None:
    before = world.snapshot()
    for number in range(2, len(BOOT) + 1):
        seen: list[str] = []

        def interrupt(
            act: str, seen: list[str] = seen, at: int = number
        ) -> None:
            seen.append(act)
            if len(seen) == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            start(world.context(Acts(before=interrupt)))
        assert world.snapshot() == before, number


def test_an_unfinished_instance_without_a_journal(world: World) -> None:
    assert crash(world, start, Acts(crash_at=10, does_it=False))
    world.journal.remove(UUID)
    recover(world.context())
    assert world.states() == ["free"] * 3
    assert world.guests() == frozenset()


def test_a_guest_with_less_than_its_claim_is_not_finished(
    world: World,
) -> None:
    before = world.snapshot()
    assert crash(world, start, Acts(crash_at=8, does_it=True))
    part = guest(devices=hostdev(GPU)).text.decode()
    world.hypervisor.start(part)
    recover(world.context())
    assert world.snapshot() == before


def test_without_libvirt_what_is_half_done_stays(world: World) -> None:
    before = world.snapshot()
    assert crash(world, start, Acts(crash_at=7, does_it=True))
    half = world.snapshot()

    def gone() -> None:
        raise errors.Unavailable("libvirt does not answer")

    context = dataclasses.replace(
        world.context(),
        connect=gone,  # type: ignore[arg-type] # it never returns
    )
    with pytest.raises(errors.Unavailable, match="libvirt does not answer"):
        inventory.publish(context)
    assert world.snapshot() == half
    recover(world.context())
    assert world.snapshot() == before

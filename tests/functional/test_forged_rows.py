"""Guests that have none of the units that they are said to have.

By rows that another host wrote, or by a boot that was interrupted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import inventory, recovery, release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import URI, Acts, Crash
from tests.functional.hooked import AUDIO, GPU, SECOND, hostdev
from tests.functional.world import OTHER, UUID, World, guest, place, wanted

SECOND_CARD = SECOND[0]
STATES = (State.PREPARING, State.ACTIVE, State.RELEASING, State.SANITISING)


@pytest.fixture
def attacker(world: World) -> Iterator[SqlLedger]:
    """The ledger in the hands of another host."""
    url = f"sqlite:///{world.folder}/ledger.sqlite"
    ledger = SqlLedger(LedgerSettings(url))
    yield ledger
    ledger.close()


def forge(
    ledger: SqlLedger, uuid: str, address: str, state: State, request: str
) -> None:
    """Write that a guest has a unit, in that state."""
    (record,) = (
        r for r in ledger.records() if str(r.unit.key.address) == address
    )
    if record.state is State.FREE:
        held = ledger.claim_units([record.unit.key], uuid, request)
        record = held.units[0]
    before = {State.PREPARING: (State.PREPARING,)}
    path = (*STATES[1 : STATES.index(state) + 1],)
    for step in before.get(state, path):
        if record.state is not step:
            record = ledger.move(record, step)


def started(world: World, devices: str = "", uuid: str = UUID) -> None:
    text = guest(uuid, name=f"g-{uuid[:4]}", devices=devices).text
    world.hypervisor.start(text.decode())


def publish(context: HostContext) -> None:
    inventory.publish(context)


def release_ended(context: HostContext) -> None:
    recovery.release_ended(context, UUID)


def release_another(context: HostContext) -> None:
    recovery.release_ended(context, OTHER)


COMMANDS = (publish, release_ended, release_another)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", [State.PREPARING, State.RELEASING])
def test_a_guest_without_functions_is_never_stopped(
    world: World,
    attacker: SqlLedger,
    state: State,
    command: Callable[[HostContext], None],
) -> None:
    started(world)
    world.kernel.held.add(place(GPU))
    forge(attacker, UUID, GPU, state, "gpu:1")
    acts = Acts()
    command(world.context(acts))
    assert world.guests() == {UUID}
    assert not {"stop", "reset"} & set(acts.done)
    record = world.ledger.records()[0]
    assert (record.state, record.consumer) == (State.QUARANTINED, None)
    assert UUID in record.reason
    assert any(UUID in line and GPU in line for line in world.said)


@pytest.mark.parametrize("state", STATES)
def test_nor_for_a_unit_that_nobody_uses(
    world: World, attacker: SqlLedger, state: State
) -> None:
    started(world)
    forge(attacker, UUID, GPU, state, "gpu:1")
    acts = Acts()
    for _ in range(2):
        publish(world.context(acts))
    assert world.guests() == {UUID}
    assert "stop" not in acts.done


def test_only_the_forged_unit_is_taken_from_a_guest_with_a_card(
    world: World, attacker: SqlLedger
) -> None:
    """Its own card stays active, and it stays up."""
    started(world, hostdev(GPU) + hostdev(AUDIO))
    world.kernel.held.add(place(GPU))
    forge(attacker, UUID, GPU, State.ACTIVE, "hook")
    before = world.ledger.records()[0]
    (free,) = (
        r.unit.key
        for r in world.ledger.records()
        if str(r.unit.key.address) == SECOND_CARD
    )
    for state in (State.PREPARING, State.RELEASING):
        with attacker.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO allocation SELECT u.id, a.consumer_id FROM unit"
                " u, allocation a WHERE u.address = ?",
                (SECOND_CARD,),
            )
            connection.exec_driver_sql(
                "UPDATE unit SET state = ? WHERE address = ?",
                (str(state), SECOND_CARD),
            )
        publish(world.context())
        assert world.guests() == {UUID}
        assert world.ledger.records()[0] == before
        record = world.ledger.unit(free)
        assert record.state is State.QUARANTINED, state
        world.ledger.move(record, State.FREE)


def test_a_guest_that_has_the_unit_is_stopped_for_it(
    world: World, attacker: SqlLedger
) -> None:
    started(world, hostdev(AUDIO))
    forge(attacker, UUID, GPU, State.PREPARING, "gpu:1")
    publish(world.context())
    assert world.guests() == frozenset()
    assert world.states() == ["free"] * 3


def test_a_guest_that_starts_later_is_not_stopped(
    world: World, attacker: SqlLedger
) -> None:
    """A command that dies leaves no journal that says to stop it."""
    forge(attacker, UUID, GPU, State.PREPARING, "gpu:1")
    for number in range(1, 12):
        acts = Acts(crash_at=number, does_it=True)
        try:
            publish(world.context(acts))
        except BaseException:  # noqa: BLE001 - the process is dead
            started(world)
            publish(world.context())
            assert world.guests() == {UUID}, acts.done
            world.hypervisor.destroy(UUID)
            for record in world.ledger.records():
                if record.state is State.QUARANTINED:
                    world.ledger.move(record, State.FREE)
            forge(attacker, UUID, GPU, State.PREPARING, "gpu:1")


def test_an_operators_release_stops_no_guest_without_the_unit(
    world: World, attacker: SqlLedger
) -> None:
    started(world)
    forge(attacker, UUID, GPU, State.ACTIVE, "gpu:1")
    acts = Acts()
    (record,) = release.release(world.context(acts), UUID)
    assert record.state is State.QUARANTINED
    assert UUID in record.reason
    assert world.guests() == {UUID}
    assert "stop" not in acts.done


@pytest.mark.parametrize("crash_at", [2, 6])
def test_a_defined_guest_that_libvirt_started_meanwhile_is_not_stopped(
    world: World, crash_at: int
) -> None:
    """The boot died before its claim, or while it bound.

    Then the host restarts, and libvirt starts the domain on its own.
    """
    before = world.states()
    with pytest.raises(Crash):
        boot(world.context(Acts(crash_at=crash_at)), guest(), wanted())
    domain = world.hypervisor._connection.defineXML(guest().text.decode())
    try:
        domain.create()
        publish(world.context())
        assert domain.isActive()
        assert world.states() == before
        assert any("left running" in line for line in world.said)
    finally:
        domain.destroy()
        domain.undefine()


class Shown(Hypervisor):
    """libvirt, which shows another document of each guest that runs."""

    def __init__(self, text: str) -> None:
        super().__init__(URI)
        self._text = text

    def live_xml(self, uuid: str) -> str | None:
        return self._text if super().live_xml(uuid) else None


@pytest.mark.parametrize(
    "text",
    [
        guest(devices=hostdev(GPU)).text.decode(),
        guest().text.decode().replace("</devices>", "<hostdev/></devices>"),
        "<domain",
    ],
    ids=["one function", "may have one", "not XML"],
)
def test_a_guest_that_has_or_may_have_a_function_is_stopped(
    world: World, text: str
) -> None:
    """What runs after a boot that died while it bound."""
    before = world.snapshot()
    with pytest.raises(Crash):
        boot(world.context(Acts(crash_at=6)), guest(), wanted())
    world.hypervisor.start(guest().text.decode())
    publish(dataclasses.replace(world.context(), connect=lambda: Shown(text)))
    assert world.snapshot() == before

"""A powered-off host's units are given up, and checked when it is back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import attach, fence, inventory, release
from gpu_passthrough_plugin.flow.agent import Result
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import Identity
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import Acts, CountedLedger, Crash
from tests.functional.each_ledger import LEDGERS, opened
from tests.functional.test_agent import power_off
from tests.functional.test_returned_host import LIFTED, a_pass, cordon
from tests.functional.world import (
    HOST,
    OTHER,
    UUID,
    World,
    guest,
    refused,
    wanted,
)
from tests.unit.allocation.build import request, unit

pytest_plugins = (
    "tests.functional.placement.fixtures",
    "tests.functional.servers.fixtures",
)

CONSUMERS = tuple(f"{d * 8}-0000-4000-8000-000000000001" for d in "abcde")
PATH = (State.PREPARING, State.ACTIVE, State.RELEASING, State.SANITISING)
BY = "ann on control"
MARK = f"fenced: by {BY}"
FORGOT = (Case.FENCED, Act.FORGET, Result.DONE)
CLEANED = (Case.FENCED, Act.CLEAN, Result.DONE)


@pytest.fixture(params=LEDGERS)
def ledger(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[LedgerDriver]:
    with opened(request, tmp_path) as each:
        yield each


def fill(ledger: LedgerDriver) -> None:
    """Two hosts; on the first a unit in each state that is held."""
    for host in ("a", "b"):
        ledger.publish(host, [unit(n, host=host) for n in range(1, 7)])
    for number, consumer in enumerate(CONSUMERS):
        (held,) = ledger.claim(request("gpu:1"), consumer, host="a").units
        for state in PATH[:number]:
            held = ledger.move(held, state)


def fenced(ledger: LedgerDriver, by: str = BY) -> list[tuple[str, str]]:
    said: list[str] = []
    given_up = fence.fence(ledger, "a", by, said.append)
    assert len(said) == len(given_up)
    return [(str(g.before.state), str(g.after.state)) for g in given_up]


def test_a_claim_is_freed_and_the_rest_is_quarantined(
    ledger: LedgerDriver,
) -> None:
    fill(ledger)
    assert fenced(ledger) == [
        ("claimed", "free"),
        *((str(state), "quarantined") for state in PATH),
    ]
    require_given_up(ledger)
    # They may be started elsewhere at once.
    for consumer in CONSUMERS:
        assert ledger.claim(request("gpu:1"), consumer).host == "b"
    assert fenced(ledger, "another") == []
    require_given_up(ledger)


def require_given_up(ledger: LedgerDriver) -> None:
    records = ledger.records(host="a")
    states = [record.state for record in records]
    assert states == [State.FREE, *[State.QUARANTINED] * 4, State.FREE]
    assert all(r.reason.startswith("fenced: ") for r in records[1:5])
    assert all(held.host == "b" for held in ledger.allocations())
    host = ledger.host("a")
    assert host is not None and host.is_cordoned
    assert host.reason.startswith("fenced: by ")


def test_killed_at_any_act_it_can_be_repeated(tmp_path: Path) -> None:
    number = 1
    while True:
        url = f"sqlite:///{tmp_path}/{number}.sqlite"
        with contextlib.closing(SqlLedger(LedgerSettings(url))) as ledger:
            ledger.sync()
            fill(ledger)
            acts = Acts(crash_at=number)
            try:
                fenced(CountedLedger(ledger, acts))
            except Crash:
                # A free unit of the host is offered to nobody meanwhile.
                if number > 1:
                    assert cordon_of(ledger).startswith("fenced: ")
                fenced(ledger)
                require_given_up(ledger)
            else:
                break
        number += 1
    assert number == 7


def cordon_of(ledger: LedgerDriver) -> str:
    host = ledger.host("a")
    assert host is not None
    return host.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", MARK),
        ("lost: its agent has not answered since x", MARK),
        ("new fans", "new fans"),
        ("fenced: by bob", "fenced: by bob"),
    ],
)
def test_what_becomes_of_the_cordon(
    ledger: LedgerDriver, before: str, after: str
) -> None:
    ledger.publish("a", [unit(1, host="a")])
    if before:
        ledger.cordon("a", before)
    fenced(ledger)
    assert cordon_of(ledger) == after


def test_who_was_faster_at_a_unit_is_not_overrun(tmp_path: Path) -> None:
    """As the host's own agent, if it was not off after all."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with contextlib.closing(SqlLedger(LedgerSettings(url))) as ledger:
        ledger.sync()
        fill(ledger)
        (active,) = ledger.allocation(CONSUMERS[2]).units
        moved: list[str] = []

        def before(name: str) -> None:
            if name != "cordon" and not moved:
                moved.append(name)
                ledger.move(active, State.RELEASING)

        fenced(CountedLedger(ledger, Acts(before=before)))
        require_given_up(ledger)


def test_an_unknown_host(ledger: LedgerDriver) -> None:
    with pytest.raises(errors.Refused, match="no host a"):
        fenced(ledger)


def lose(world: World) -> None:
    """As from another host; this one has lost its power."""
    for uuid in world.guests():
        power_off(world, uuid)
    fence.fence(world.ledger, HOST, BY, world.said.append)


def test_what_a_guest_had_is_checked_before_it_is_offered(
    world: World,
) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted("gpu:2"))
    lose(world)
    assert sorted(world.states()) == ["free", *["quarantined"] * 2]
    assert a_pass(world) == [FORGOT, CLEANED, CLEANED, LIFTED]
    assert (world.states(), world.journal.instances()) == (["free"] * 3, ())
    assert cordon(world) == ""
    assert world.kernel.reset_groups
    after = world.snapshot()
    assert (after.ledger, after.guests) == (before.ledger, before.guests)
    assert a_pass(world) == []
    events = world.ledger.events(EventQuery(HOST)).events
    assert events[-1].transition.after == "offered"


@pytest.mark.parametrize("does_it", [False, True])
@pytest.mark.parametrize("number", range(1, 14))
def test_killed_anywhere_on_its_way_back(
    world: World, number: int, does_it: bool
) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted("gpu:2"))
    lose(world)
    with contextlib.suppress(Crash):
        a_pass(world, Acts(crash_at=number, does_it=does_it))
    if cordon(world):
        a_pass(world)
    assert cordon(world) == ""
    assert world.snapshot().ledger == before.ledger
    assert world.journal.instances() == ()
    assert a_pass(world) == []


def test_a_guest_that_moved_is_not_taken_back(world: World) -> None:
    """It runs elsewhere by now; this host's journal still has it."""
    boot(world.context(), guest(), wanted())
    lose(world)
    world.ledger.publish("other", [unit(1, host="other")])
    moved = world.ledger.claim(request("gpu:1"), UUID, host="other")
    assert a_pass(world) == [FORGOT, CLEANED, LIFTED]
    assert world.ledger.allocation(UUID) == moved
    assert world.journal.instances() == ()
    inventory.publish(world.context())


def test_a_definition_loses_its_claim(world: World) -> None:
    world.hypervisor.define(guest().text.decode())
    attach.attach(world.context(), UUID, wanted())
    lose(world)
    assert world.states() == ["free"] * 3
    assert a_pass(world) == [FORGOT, LIFTED]
    assert world.journal.instances() == ()
    assert a_pass(world) == []
    assert len(world.domains()) == 1


def test_a_guest_that_runs_in_spite_of_it(world: World) -> None:
    """The host was not off: nothing of the guest's is offered."""
    boot(world.context(), guest(), wanted())
    boot(world.context(), guest(OTHER, "other"), wanted())
    power_off(world, OTHER)
    fence.fence(world.ledger, HOST, BY, world.said.append)
    found = a_pass(world)
    assert (Case.GUEST_CONFLICT, Act.NONE, Result.LEFT) in found
    assert (Case.HOST_LOST, Act.NONE, Result.LEFT) in found
    assert cordon(world) == MARK
    assert world.guests() == {UUID}
    assert sorted(world.states()) == ["free", "free", "quarantined"]
    power_off(world)
    assert a_pass(world)[-1] == LIFTED
    assert world.states() == ["free"] * 3


def test_what_is_not_clean_stays_quarantined(world: World) -> None:
    (held,) = boot(world.context(), guest(), wanted()).units
    lose(world)
    dead = Identity(0xFFFF, 0xFFFF)
    world.kernel.identities[held.unit.key.address] = dead
    assert LIFTED in a_pass(world)
    (record,) = world.ledger.records(states=[State.QUARANTINED])
    assert "fenced" not in record.reason
    assert record.unit.key == held.unit.key
    assert a_pass(world) == [(Case.QUARANTINED, Act.NONE, Result.LEFT)]


def test_an_operator_who_uncordons_early_offers_nothing_dirty(
    world: World,
) -> None:
    boot(world.context(), guest(), wanted())
    lose(world)
    inventory.uncordon(world.ledger, HOST)
    assert sorted(world.states()) == ["free", "free", "quarantined"]
    assert a_pass(world) == [FORGOT, CLEANED]
    assert world.states() == ["free"] * 3


def test_without_an_agent_it_is_reset_too(world: World) -> None:
    """The host may not have been rebooted."""
    before = world.snapshot().ledger
    (held,) = boot(world.context(), guest(), wanted()).units
    fence.fence(world.ledger, HOST, BY, world.said.append)
    functions = {function.address for function in held.unit.functions}
    world.kernel.held |= functions
    assert "may be in use" in refused(
        inventory.clear, world.context(), held.unit.key
    )
    assert world.kernel.reset_groups == []
    world.kernel.held -= functions
    power_off(world)
    inventory.clear(world.context(), held.unit.key)
    assert world.kernel.reset_groups
    assert world.snapshot().ledger == before


def test_an_operator_takes_a_fenced_unit_out_of_use(world: World) -> None:
    """The agent does not give it back, and a reset is still due."""
    (held,) = boot(world.context(), guest(), wanted()).units
    lose(world)
    key = held.unit.key
    record = inventory.quarantine(world.context(), key, None)
    assert record.reason == inventory.BY_OPERATOR
    a_pass(world)
    assert world.ledger.unit(key) == record
    assert world.kernel.reset_groups == []
    inventory.clear(world.context(), key)
    assert world.kernel.reset_groups


@pytest.mark.parametrize("number", range(1, 16))
def test_fenced_in_the_middle_of_a_boot(world: World, number: int) -> None:
    """Its guest may run elsewhere by the time that the host is back."""
    with contextlib.suppress(Crash):
        boot(world.context(Acts(crash_at=number)), guest(), wanted("gpu:2"))
    lose(world)
    given_up = [r for r in world.ledger.records() if r.reason]
    world.ledger.publish("other", [unit(1, host="other")])
    moved = world.ledger.claim(request("gpu:1"), UUID, host="other")
    a_pass(world)
    assert cordon(world) == ""
    assert world.ledger.allocation(UUID) == moved
    assert world.journal.instances() == ()
    assert {r.state for r in world.ledger.records(host=HOST)} == {State.FREE}
    assert len(world.kernel.reset_groups) >= len(given_up)
    assert a_pass(world) == []


@pytest.mark.parametrize("mark", ["", "lost: no answer", MARK])
def test_what_is_on_another_host_is_done_there(
    world: World, mark: str
) -> None:
    """Or nobody is there to do it."""
    world.ledger.publish("other", [unit(1, host="other")])
    (held,) = world.ledger.claim(request("gpu:1"), UUID, host="other").units
    if mark:
        world.ledger.cordon("other", mark)
    for text in (
        refused(release.release, world.context(), UUID),
        refused(inventory.clear, world.context(), held.unit.key),
    ):
        assert "run this on other" in text
        assert ("inventory fence other" in text) is bool(mark)
        assert mark in text

"""What the agent of a host does because another host asks for it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Case
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql import schema
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.flow import host_tasks, inventory
from gpu_passthrough_plugin.flow.agent import Result
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.model.event import Actor, EventQuery
from gpu_passthrough_plugin.model.host_task import (
    HostTask,
    TaskKind,
    TaskState,
)
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.acts import Acts, Crash
from tests.functional.world import HOST, UUID, World, guest, place, wanted

GPU = "0000:06:00.0"
KEY = UnitKey(HOST, place(GPU))
_TASK = schema.host_task
ANN = Actor("unit clear", "ctl", "ann", 1000)


class Asker:
    """Another host, which asks the world's agent and waits."""

    def __init__(self, world: World) -> None:
        url = f"sqlite:///{world.folder}/ledger.sqlite"
        self.ledger = SqlLedger(LedgerSettings(url))
        self.said: list[str] = []
        self.refusal = "it still waits"

    @contextmanager
    def asking(
        self, kind: TaskKind, subject: str, wait_s: float = 30
    ) -> Iterator[None]:
        """Ask; inside, it is asked and waited for."""

        def ask() -> None:
            try:
                host_tasks.ask(
                    self.ledger,
                    HOST,
                    kind,
                    subject,
                    dataclasses.replace(ANN, command=str(kind)),
                    wait_s,
                    self._say,
                )
                self.refusal = ""
            except errors.Error as error:
                self.refusal = str(error)

        self._is_asked = threading.Event()
        thread = threading.Thread(target=ask)
        thread.start()
        assert self._is_asked.wait(30)
        yield
        thread.join(60)
        assert not thread.is_alive()

    def _say(self, line: str) -> None:
        self.said.append(line)
        self._is_asked.set()

    @property
    def task(self) -> HostTask:
        (task,) = self.ledger.tasks().tasks
        return task


@pytest.fixture
def asker(world: World) -> Iterator[Asker]:
    made = Asker(world)
    yield made
    made.ledger.close()


def carried_out(
    world: World, acts: Acts | None = None
) -> list[tuple[Result, str]]:
    outcomes, _ = host_tasks.carried_out(world.context(acts))
    assert {o.finding.case for o in outcomes} <= {Case.TASK}
    return [(outcome.result, outcome.text) for outcome in outcomes]


def test_a_unit_is_cleared(world: World, asker: Asker) -> None:
    inventory.quarantine(world.context(), KEY, "fan is loud")
    with asker.asking(TaskKind.CLEAR, GPU):
        assert carried_out(world) == [(Result.DONE, "")]
    assert asker.refusal == ""
    assert world.ledger.unit(KEY).state is State.FREE
    assert carried_out(world) == []
    event = world.ledger.events(EventQuery(HOST, GPU)).events[-1]
    assert event.actor == ANN
    assert asker.task.state is TaskState.DONE


def test_an_instance_is_released(world: World, asker: Asker) -> None:
    boot(world.context(), guest(), wanted("gpu:2"))
    with asker.asking(TaskKind.RELEASE, UUID):
        assert carried_out(world) == [(Result.DONE, "")]
    assert asker.refusal == ""
    assert world.guests() == frozenset()
    assert set(world.states()) == {"free"}
    actors = {e.actor.user for e in world.ledger.events(EventQuery()).events}
    assert "ann" in actors
    # What follows is the agent's own again.
    inventory.quarantine(world.context(), KEY, "")
    event = world.ledger.events(EventQuery(HOST, GPU)).events[-1]
    assert event.actor == Actor()


def test_what_cannot_be_done_says_why(world: World, asker: Asker) -> None:
    inventory.quarantine(world.context(), KEY, "fan is loud")
    world.kernel.held.add(place(GPU))
    with asker.asking(TaskKind.CLEAR, GPU):
        ((result, text),) = carried_out(world)
    assert result is Result.FAILED
    assert asker.refusal == f"host {HOST}: {text}"
    assert "is held" in asker.refusal
    assert world.ledger.unit(KEY).reason == "fan is loud"


def test_nobody_takes_it(world: World, asker: Asker) -> None:
    boot(world.context(), guest(), wanted())
    with asker.asking(TaskKind.RELEASE, UUID, wait_s=1):
        pass
    assert "did not take it within 1 s, and nothing was done" in asker.refusal
    assert asker.task.state is TaskState.WITHDRAWN
    assert carried_out(world) == []
    assert world.guests() == {UUID}


def test_it_is_longer_at_it_than_that(world: World, asker: Asker) -> None:
    inventory.quarantine(world.context(), KEY, "")
    with asker.asking(TaskKind.CLEAR, GPU, wait_s=3):
        world.ledger.change_task(asker.task, TaskState.RUNNING)
    assert "is still at it after 3 s" in asker.refusal
    assert asker.said[-1] == f"the agent of {HOST} is at it"


def test_what_nobody_expects_any_more_is_not_done(
    world: World, asker: Asker
) -> None:
    boot(world.context(), guest(), wanted())
    with asker.asking(TaskKind.RELEASE, UUID):
        older = _TASK.update().values(until_us=_TASK.c.asked_us)
        asker.ledger.database.write(lambda c: c.execute(older))
        ((result, text),) = carried_out(world)
    assert result is Result.FAILED
    assert "nobody waits for it any more, or clocks differ" in text
    assert world.guests() == {UUID}


def test_whoever_is_ended_asks_for_nothing_any_more(
    world: World, asker: Asker
) -> None:
    """As by a signal, or because the ledger does not answer for a moment."""

    def ended(_line: str) -> None:
        raise SystemExit(143)

    boot(world.context(), guest(), wanted())
    with pytest.raises(SystemExit):
        host_tasks.ask(
            asker.ledger, HOST, TaskKind.RELEASE, UUID, ANN, 30, ended
        )
    assert asker.task.state is TaskState.WITHDRAWN
    assert carried_out(world) == []
    assert world.guests() == {UUID}


def test_two_who_ask_for_the_same(world: World, asker: Asker) -> None:
    """The one that waits longer still gets it done, once."""
    inventory.quarantine(world.context(), KEY, "fan is loud")
    other = Asker(world)
    with (
        asker.asking(TaskKind.CLEAR, GPU, wait_s=3),
        other.asking(TaskKind.CLEAR, GPU, wait_s=60),
    ):
        while len(world.ledger.tasks().tasks) < 2:
            time.sleep(0.1)
        assert carried_out(world) == [(Result.DONE, "")]
    assert "and nothing was done" in asker.refusal
    assert other.refusal == ""
    assert other.said[0].startswith("another command asked the agent of")
    other.ledger.close()


def test_another_may_still_have_it_done(world: World, asker: Asker) -> None:
    inventory.quarantine(world.context(), KEY, "fan is loud")
    other = Asker(world)
    with asker.asking(TaskKind.CLEAR, GPU, wait_s=8):
        with other.asking(TaskKind.CLEAR, GPU, wait_s=1):
            pass
        assert "so that it may yet be done" in other.refusal
        assert carried_out(world) == [(Result.DONE, "")]
    assert asker.refusal == ""
    other.ledger.close()


def test_one_at_a_time(world: World, asker: Asker) -> None:
    """Each may take minutes, and the agent has other work."""
    inventory.quarantine(world.context(), KEY, "")
    with (
        asker.asking(TaskKind.CLEAR, GPU),
        Asker(world).asking(TaskKind.RELEASE, UUID),
    ):
        first = host_tasks.carried_out(world.context())
        second = host_tasks.carried_out(world.context())
    assert [len(each.outcomes) for each in (first, second)] == [1, 1]
    assert (first.has_more, second.has_more) == (True, False)
    assert asker.refusal == ""


def test_a_guest_that_may_take_long_to_shut_down(
    world: World, asker: Asker
) -> None:
    boot(world.context(), guest(), wanted())
    slow = dataclasses.replace(world.context(), stop_timeout_s=600)
    with asker.asking(TaskKind.RELEASE, UUID):
        host_tasks.carried_out(slow)
    assert "stop_timeout_s = 600" in asker.refusal
    assert world.guests() == {UUID}


def test_a_ledger_that_cannot_be_read_is_told(world: World) -> None:
    gone = SqlLedger(LedgerSettings(f"sqlite:///{world.folder}/none.sqlite"))
    context = dataclasses.replace(world.context(), ledger=gone)
    ((outcome,), has_more) = host_tasks.carried_out(context)
    assert outcome.finding.waits_for_person
    assert "cannot be read" in outcome.finding.detail
    assert not has_more


@pytest.mark.parametrize("does_it", [False, True])
def test_killed_at_each_act_of_it(
    world: World, asker: Asker, does_it: bool
) -> None:
    """It is not begun a second time: the guest may run again by then."""
    number, is_over = 0, False
    while not is_over:
        number += 1
        boot(world.context(), guest(), wanted())
        acts = Acts(crash_at=number, does_it=does_it)
        with asker.asking(TaskKind.RELEASE, UUID):
            try:
                carried_out(world, acts)
                is_over = True
            except Crash:
                is_begun = asker.ledger.tasks().tasks[-1].state
                carried_out(world)
        if not is_over and is_begun is TaskState.RUNNING:
            assert "how it ended is not known" in asker.refusal
        else:
            assert asker.refusal == ""
        # What every command begins with completes what was begun.
        inventory.publish(world.context())
        if world.guests():
            assert set(world.states()) == {"active", "free"}
            with asker.asking(TaskKind.RELEASE, UUID):
                carried_out(world)
        assert world.guests() == frozenset()
        assert set(world.states()) == {"free"}, number
    assert number > 10

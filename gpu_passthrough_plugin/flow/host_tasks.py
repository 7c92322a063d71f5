"""Have the agent of another host do something, and do what others ask for.

The ledger passes it on.  Who can write there can have a guest stopped that
has a unit, with a task or without one: a task is no other right than that.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.flow import inventory, release
from gpu_passthrough_plugin.flow.agent import Outcome, Result
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.event import Actor
from gpu_passthrough_plugin.model.host_task import (
    OPEN,
    HostTask,
    TaskKind,
    TaskState,
)
from gpu_passthrough_plugin.model.unit import State, UnitKey

_POLL_S = 1.0
_CUT_OFF = (
    "it was begun, and how it ended is not known: the agent was interrupted,"
    " or the ledger did not answer; look, and run it again where need be"
)


def ask(
    ledger: LedgerDriver,
    host: str,
    kind: TaskKind,
    subject: str,
    asked_by: Actor,
    wait_s: float,
    say: Callable[[str], None],
) -> None:
    """Ask the agent of another host for something; return once it is done.

    What it does not take in time is withdrawn.

    :param subject: a unit's address, or an instance's UUID.
    :raises Refused: when it cannot be asked, or could not do it.
    :raises Unavailable: when it did not take it, or has not ended, in time.
    """
    now_us = time.time_ns() // 1000
    request = HostTask(
        uuid.uuid4().hex, host, kind, subject, asked_by, now_us, now_us
    )
    task = ledger.add_task(request)
    is_own = task.uuid == request.uuid
    asks = "asked" if is_own else "somebody asked"
    say(f"{asks} the agent of {host} for it; waiting up to {wait_s:g} s")
    try:
        task = _ended(ledger, task, wait_s, say)
    except KeyboardInterrupt:
        if is_own:
            _withdrawn(ledger, task, "whoever asked for it waits no more")
        raise
    if task.state is TaskState.WAITING:
        late = f"nobody took it within {wait_s:g} s"
        if not is_own or _withdrawn(ledger, task, late):
            raise errors.Unavailable(
                f"the agent of host {host} did not take it within"
                f" {wait_s:g} s, and nothing was done; see whether"
                " gpu-passthrough-agent runs there, or run this on"
                f" {host}"
            )
        # It was taken at the last moment.
        task = _read(ledger, task)
    if task.state.is_open:
        raise errors.Unavailable(
            f"the agent of host {host} is still at it after {wait_s:g} s;"
            " 'gpu-passthrough task list' shows how it ends"
        )
    if task.state is not TaskState.DONE:
        raise errors.Refused(f"host {host}: {task.detail}")


def _ended(
    ledger: LedgerDriver,
    task: HostTask,
    wait_s: float,
    say: Callable[[str], None],
) -> HostTask:
    """Return a task once it ended, or as it is when it is time."""
    deadline = time.monotonic() + wait_s
    while task.state.is_open and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        before = task.state
        task = _read(ledger, task)
        if task.state is TaskState.RUNNING and before is not task.state:
            say(f"the agent of {task.host} is at it")
    return task


def _read(ledger: LedgerDriver, task: HostTask) -> HostTask:
    listing = ledger.tasks(host=task.host, uuid=task.uuid)
    for stored in listing.tasks:
        return stored
    raise errors.Unavailable(
        f"task {task.uuid} cannot be read in ledger {ledger.location}:"
        f" {'; '.join(listing.malformed) or 'it is gone'}"
    )


def _withdrawn(ledger: LedgerDriver, task: HostTask, why: str) -> bool:
    """Return whether a task that waited was withdrawn."""
    try:
        ledger.change_task(task, TaskState.WITHDRAWN, why)
    except errors.Conflict:
        return False
    return True


def carried_out(context: HostContext) -> tuple[Outcome, ...]:
    """Do what this host's agent is asked for; return what became of it.

    Only for the agent, of which one runs on a host.

    :raises Error: when the ledger does not answer.
    """
    return tuple(_outcomes(context))


def _outcomes(context: HostContext) -> Iterator[Outcome]:
    listing = context.ledger.tasks(host=context.host, states=OPEN)
    for text in listing.malformed:
        finding = Finding(
            Case.TASK,
            context.host,
            text,
            remedy="remove its row from the ledger's table host_task",
        )
        yield Outcome(finding, Result.LEFT)
    for task in listing.tasks:
        who = f"{task.asked_by.user or 'somebody'} on {task.asked_by.host}"
        finding = Finding(
            Case.TASK, task.uuid, f"{who} asked for: {task.title}", Act.TASK
        )
        yield _carried_out(context, task, finding)


def _carried_out(
    context: HostContext, task: HostTask, finding: Finding
) -> Outcome:
    ledger = context.ledger
    refusal = _CUT_OFF
    try:
        if task.state is TaskState.WAITING:
            refusal = _too_old(task)
            if not refusal:
                task = ledger.change_task(task, TaskState.RUNNING)
                refusal = _done(context, task)
        if not refusal:
            ledger.change_task(task, TaskState.DONE)
            return Outcome(finding, Result.DONE)
        ledger.change_task(task, TaskState.FAILED, refusal)
    except errors.Conflict as error:
        refusal = str(error)
    return Outcome(finding, Result.FAILED, refusal)


def _too_old(task: HostTask) -> str:
    """Return why a task is not carried out any more; empty if it is."""
    now_us = time.time_ns() // 1000
    if task.is_expected(now_us):
        return ""
    return (
        f"it was asked for at {timestamp.shown(task.asked_us)}, and the clock"
        f" of {task.host} says {timestamp.shown(now_us)}; expected at most an"
        " hour between them; run it again"
    )


def _done(context: HostContext, task: HostTask) -> str:
    """Do what is asked for; return why that failed, empty if it did not."""
    try:
        with context.ledger.acting_for(task.asked_by):
            if task.kind is TaskKind.RELEASE:
                release.release(context, task.subject)
            else:
                _clear(context, task)
    except errors.Error as error:
        return str(error)
    return ""


def _clear(context: HostContext, task: HostTask) -> None:
    place = address.parse_typed(task.subject)
    record = context.ledger.unit(UnitKey(task.host, place))
    if record.state is not State.FREE:
        inventory.clear(context, record.unit.key)

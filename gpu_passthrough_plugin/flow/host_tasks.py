"""Have the agent of another host do something, and do what others ask for.

The ledger passes it on.  Who can write there can have a guest stopped that
has a unit, with a task or without one: a task is no other right than that.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

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
# The agent's unit may be stopped, which has to end in five minutes.
_LONGEST_STOP_S = 240
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

    What it does not take in time is withdrawn, and it takes nothing later
    than that.

    :param subject: a unit's address, or an instance's UUID.
    :raises Refused: when it cannot be asked, or could not do it.
    :raises Unavailable: when it did not take it, or has not ended, in time.
    """
    deadline = time.monotonic() + wait_s
    while True:
        now_us = time.time_ns() // 1000
        left_us = int(max(0.0, deadline - time.monotonic()) * 1_000_000)
        request = HostTask(
            uuid.uuid4().hex,
            host,
            kind,
            subject,
            asked_by,
            now_us,
            now_us + left_us,
            now_us,
        )
        task = _answered(ledger, request, deadline, say)
        if task.uuid == request.uuid or task.state is not TaskState.WITHDRAWN:
            break
        # Whoever asked for the same waits no more.
    if task.state is TaskState.DONE:
        return
    if task.state is TaskState.RUNNING:
        raise errors.Unavailable(
            f"the agent of host {host} is still at it after {wait_s:g} s;"
            " 'gpu-passthrough task list' shows how it ends"
        )
    if task.state is TaskState.WAITING:
        raise errors.Unavailable(
            f"the agent of host {host} did not take it within {wait_s:g} s;"
            " another command still asks for it, so that it may yet be done:"
            " see 'gpu-passthrough task list'"
        )
    if task.state is TaskState.WITHDRAWN:
        raise errors.Unavailable(
            f"the agent of host {host} did not take it within {wait_s:g} s,"
            " and nothing was done; see whether gpu-passthrough-agent runs"
            f" there, or run this on {host}"
        )
    raise errors.Refused(f"host {host}: {task.detail}")


def _answered(
    ledger: LedgerDriver,
    request: HostTask,
    deadline: float,
    say: Callable[[str], None],
) -> HostTask:
    """Ask, and return the task once it ended, or when it is time.

    One's own does not wait any more then, whatever happens here.
    """
    is_own, is_over = True, False
    try:
        task = ledger.add_task(request)
        is_own = task.uuid == request.uuid
        asks = "asked" if is_own else "another command asked"
        left_s = max(0.0, deadline - time.monotonic())
        say(f"{asks} the agent of {task.host} for it; waiting {left_s:.0f} s")
        task = _ended(ledger, task, deadline, say)
        is_over = True
    finally:
        if is_own and not is_over:
            # As when the command is ended; what is down stays down.
            with contextlib.suppress(errors.Error):
                _withdrawn(ledger, request, "nobody waits for it any more")
    if is_own and task.state is TaskState.WAITING:
        return _withdrawn(ledger, task, "nobody took it in time")
    return task


def _ended(
    ledger: LedgerDriver,
    task: HostTask,
    deadline: float,
    say: Callable[[str], None],
) -> HostTask:
    """Return a task once it ended, or as it is when it is time."""
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


def _withdrawn(ledger: LedgerDriver, task: HostTask, why: str) -> HostTask:
    """Withdraw a task that waited; return it as it is then."""
    try:
        return ledger.change_task(task, TaskState.WITHDRAWN, why)
    except errors.Conflict:
        # It was taken at the last moment.
        return _read(ledger, task)


class TaskOutcomes(NamedTuple):
    """What became of tasks.

    :param has_more: whether others wait.
    """

    outcomes: tuple[Outcome, ...]
    has_more: bool = False


def carried_out(context: HostContext) -> TaskOutcomes:
    """Do the first thing that this host's agent is asked for.

    Only for the agent, of which one runs on a host.  One at a time, since it
    may take minutes.
    """
    try:
        return _carried_out(context)
    except errors.Error as error:
        finding = Finding(
            Case.TASK,
            context.host,
            f"what this host is asked for cannot be read, or answered:"
            f" {error}",
            remedy="check the ledger; in PostgreSQL with roles of nodes, run"
            " node-roles.sql again",
        )
        return TaskOutcomes((Outcome(finding, Result.LEFT),))


def _carried_out(context: HostContext) -> TaskOutcomes:
    listing = context.ledger.tasks(host=context.host, states=OPEN)
    outcomes = []
    for text in listing.malformed:
        finding = Finding(
            Case.TASK,
            context.host,
            text,
            remedy="remove its row from the ledger's table host_task",
        )
        outcomes.append(Outcome(finding, Result.LEFT))
    for task in listing.tasks[:1]:
        who = f"{task.asked_by.user or 'somebody'} on {task.asked_by.host}"
        finding = Finding(
            Case.TASK, task.uuid, f"{who} asked for: {task.title}", Act.TASK
        )
        outcomes.append(_outcome(context, task, finding))
    return TaskOutcomes(tuple(outcomes), len(listing.tasks) > 1)


def _outcome(
    context: HostContext, task: HostTask, finding: Finding
) -> Outcome:
    ledger = context.ledger
    refusal = _CUT_OFF
    try:
        if task.state is TaskState.WAITING:
            refusal = _why_not(context, task)
            if not refusal:
                task = ledger.change_task(task, TaskState.RUNNING)
                refusal = _done(context, task)
        if not refusal:
            ledger.change_task(task, TaskState.DONE)
            return Outcome(finding, Result.DONE)
        ledger.change_task(task, TaskState.FAILED, refusal)
    except errors.Conflict as error:
        # Whoever asked withdrew it.
        refusal = str(error)
    return Outcome(finding, Result.FAILED, refusal)


def _why_not(context: HostContext, task: HostTask) -> str:
    """Return why a task is not begun; empty if it is."""
    now_us = time.time_ns() // 1000
    if not task.is_expected(now_us):
        return (
            "nobody waits for it any more, or clocks differ: it was asked for"
            f" at {timestamp.shown(task.asked_us)}, until"
            f" {timestamp.shown(task.until_us)}, and the clock of {task.host}"
            f" says {timestamp.shown(now_us)}; run it again"
        )
    is_release = task.kind is TaskKind.RELEASE
    if is_release and context.stop_timeout_s > _LONGEST_STOP_S:
        return (
            "a guest may take longer to shut down there ([libvirt]"
            f" stop_timeout_s = {context.stop_timeout_s:g}) than the agent may"
            f" be busy with it ({_LONGEST_STOP_S}); run this on {task.host}"
        )
    return ""


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

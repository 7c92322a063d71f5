"""``task``: what the agents of other hosts are asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import agent_group
from gpu_passthrough_plugin.cli.command import Lister, number_from_zero, rows
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model.agent_state import AgentState, agent_state
from gpu_passthrough_plugin.model.host_task import OPEN, HostTask, TaskKind

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.context import Context

COLUMNS = (
    "Task",
    "Host",
    "Command",
    "Subject",
    "State",
    "Since",
    "Asked",
    "By",
    "From",
    "Detail",
)
# More than the agents' longest usual time between two passes.
_WAIT_S = 180
_NOT_THERE = {
    AgentState.SILENT: "whose agent does not answer",
    AgentState.NONE: "where no agent runs",
}


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add the option for how long another host's agent may take."""
    parser.add_argument(
        "--wait",
        type=number_from_zero,
        default=_WAIT_S,
        metavar="SECONDS",
        help="for what is on another host: how long the agent there, which"
        f" is asked to do it, may take (default: {_WAIT_S})",
    )


def ask(
    context: Context, host: str, kind: TaskKind, subject: str, wait_s: int
) -> None:
    """Have another host's agent do something; return once it is done.

    :param subject: a unit's address, or an instance's UUID.
    :raises Refused: when nobody is there, or it could not be done.
    :raises Unavailable: when it was not done in time.
    """
    from gpu_passthrough_plugin.flow import host_tasks
    from gpu_passthrough_plugin.flow.context import elsewhere
    from gpu_passthrough_plugin.host import actor

    ledger, own_host = context.changed_ledger, context.settings.host
    words = f"unit {host}/{subject}"
    if kind is TaskKind.RELEASE:
        words = f"instance {subject}"
    record = ledger.host(host)
    if record is not None:
        members = agent_group.members(context)
        state = agent_state(record, members)
        is_passed_on = ledger.keeps_tasks and context.has_agents
        if not is_passed_on or state in (
            AgentState.LOST,
            AgentState.FENCED,
        ):
            raise elsewhere(record, host, own_host, words)
        if members is not None and state in _NOT_THERE:
            raise errors.Refused(
                f"{words} is on host {host}, {_NOT_THERE[state]}; run this on"
                f" {host}"
            )
    asked_by = actor.current(str(kind), own_host)
    host_tasks.ask(ledger, host, kind, subject, asked_by, wait_s, say)


class TaskList(Lister):
    """List what agents of other hosts were asked for, and how that ended.

    The ledger keeps that for a week after it ended.
    """

    reads_only = True
    column_names = COLUMNS
    empty = "no agent was asked for anything"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--host",
            metavar="HOST",
            help="only what the agent of this host was asked for",
        )
        parser.add_argument(
            "--open",
            action="store_true",
            help="only what has not ended",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        listing = self.context.ledger.tasks(
            host=parsed_args.host, states=OPEN if parsed_args.open else ()
        )
        for line in listing.malformed:
            say(f"left out: {line}")
        return COLUMNS, rows(*map(_row, listing.tasks))


def _row(task: HostTask) -> tuple[object, ...]:
    return (
        task.uuid,
        task.host,
        str(task.kind),
        task.subject,
        str(task.state),
        timestamp.shown(task.changed_us),
        timestamp.shown(task.asked_us),
        task.asked_by.user,
        task.asked_by.host,
        task.detail,
    )

"""The agent among the agents of other hosts, and what a command sees of them.

Only where the lock backend keeps groups.  The leader of the agents marks the
hosts that are lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model import agent_state

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.lost_hosts import Fencing
    from gpu_passthrough_plugin.host.member_loop import MemberLoop
    from gpu_passthrough_plugin.host.membership import Membership

# A command does not wait for a group as long as for a lock.
_MEMBERS_TIMEOUT_S = 10.0
# How often the leader looks while it waits for a host.
_LOOKS, _MIN_LOOK_S, _MAX_LOOK_S = 4, 1.0, 30.0
_MAX_ROUND_S = 10.0


class AgentGroup:
    """This host's agent among the others.

    :param context: of the process; its options of the group are used until
        it ends.
    :param new_context: makes one that reads the configuration again.
    """

    def __init__(
        self, context: Context, new_context: Callable[[], Context]
    ) -> None:
        self._context = context
        self._new_context = new_context
        self._loop: MemberLoop | None = None

    def running(self) -> AbstractContextManager[None]:
        """Be one of the agents inside, if the lock backend has groups."""
        options = self._context.settings.coordination
        if not agent_state.has_groups(options.backend_url):
            if self._context.settings.agent.lost_after_s:
                say(
                    "the lock backend keeps no groups of agents: hosts that"
                    " are lost are not noticed; see [coordination] backend_url"
                )
            return contextlib.nullcontext()
        from gpu_passthrough_plugin.host.member_loop import MemberLoop

        self._loop = MemberLoop(
            self._joined,
            _Leading(self._new_context).look,
            # The pass that follows has this host watched.
            lambda: os.kill(os.getpid(), signal.SIGHUP),
            say,
            min(_look_s(self._context), _MAX_ROUND_S),
        )
        return self._loop.running()

    def _joined(self) -> AbstractContextManager[Membership]:
        from gpu_passthrough_plugin.cli import main
        from gpu_passthrough_plugin.host import membership

        settings = self._context.settings
        return membership.joined(
            settings.coordination.backend_url,
            settings.host,
            {"release": main.version()},
            folder=os.path.join(self._context.state_path, "locks"),
            timeout_s=settings.coordination.timeout_s,
        )

    @property
    def is_member(self) -> bool:
        return self._loop is not None and self._loop.is_member

    def is_away(self) -> bool:
        """Return whether there is a group, and this host is not in it."""
        return self._loop is not None and not self._loop.is_member


class _Leading:
    """What the agent that leads does for all hosts."""

    def __init__(self, new_context: Callable[[], Context]) -> None:
        from gpu_passthrough_plugin.flow.lost_hosts import Leader

        self._new_context = new_context
        self._leader = Leader()
        self._due_s = 0.0
        self._told: frozenset[str] = frozenset()

    def look(self, membership: Membership) -> None:
        """Look at the other hosts, if this agent leads and it is time.

        :raises Unavailable: when the membership or leadership was lost.
        """
        try:
            is_leading = membership.leads()
        except errors.Unavailable:
            self._leader.forget()
            raise
        if not is_leading:
            self._leader.forget()
        elif time.monotonic() >= self._due_s:
            self._judge(membership)

    def _judge(self, membership: Membership) -> None:
        """Judge the hosts; report faults of the ledger, each once."""
        lines: list[str] = []
        self._due_s = time.monotonic() + _MAX_LOOK_S
        try:
            context = self._new_context()
            self._due_s = time.monotonic() + _look_s(context)
            lost_after_s = float(context.settings.agent.lost_after_s)
            if lost_after_s:
                members = membership.names()
                try:
                    self._leader.look(
                        context.ledger,
                        members,
                        lost_after_s,
                        lines.append,
                        _fencing(context, membership),
                    )
                finally:
                    context.ledger.close()
        except errors.Error as error:
            self._leader.forget()
            lines.append(f"which hosts are lost is unknown: {error}")
        for line in lines:
            if line not in self._told:
                say(line)
        self._told = frozenset(lines)


def _fencing(context: Context, membership: Membership) -> Fencing | None:
    """Return how a lost host is powered off; None where nothing does it."""
    options = context.settings.agent
    if not options.fence_command:
        return None
    from gpu_passthrough_plugin.flow.lost_hosts import Fencing
    from gpu_passthrough_plugin.host.operator_command import OperatorCommand

    program = options.fence_command[0]
    command = OperatorCommand(
        options.fence_command,
        options.fence_timeout_s,
        subject="not powered off",
        option="[agent] fence_command",
    )

    def power_off(host: str, reason: str) -> None:
        command.run(
            {
                "GPU_PASSTHROUGH_HOST": host,
                "GPU_PASSTHROUGH_REASON": reason,
            }
        )

    def present() -> Collection[str]:
        membership.require()
        if not membership.leads():
            raise errors.Unavailable("another agent leads now")
        return membership.names()

    by = f"{program} on {context.settings.host}"
    return Fencing(by, power_off, present)


def _look_s(context: Context) -> float:
    """Return how often the leader looks."""
    lost_after_s = context.settings.agent.lost_after_s
    if not lost_after_s:
        return _MAX_LOOK_S
    return min(max(lost_after_s / _LOOKS, _MIN_LOOK_S), _MAX_LOOK_S)


def members(context: Context) -> Collection[str] | None:
    """Return the hosts whose agents answer; None where that is unknown.

    It says so where a backend that has groups does not answer.
    """
    options = context.settings.coordination
    if not agent_state.has_groups(options.backend_url):
        return None
    from gpu_passthrough_plugin.host import membership

    try:
        return membership.names(
            options.backend_url, min(options.timeout_s, _MEMBERS_TIMEOUT_S)
        )
    except errors.Error as error:
        say(f"which agents answer is unknown: {error}")
        return None


def is_away(context: Context, host: str) -> bool:
    """Return whether agents know of one another, and a host's is not one."""
    if not agent_state.has_groups(context.settings.coordination.backend_url):
        return False
    present = members(context)
    return present is None or host not in present


def new_contexts(
    config_files: Sequence[str], program: str
) -> Callable[[], Context]:
    """Return what reads the configuration again at each call."""
    return lambda: Context("/", None, config_files, program)

"""Mark hosts as lost whose agents stopped answering, and offer them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent import host_watch
from gpu_passthrough_plugin.agent.host_watch import (
    HostWatch,
    LostHost,
    Moment,
)
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.flow import fence
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.agent_state import FENCED, LOST

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 60.0, 3600.0
_MOST_COUNTED = 10
_MOST_SHOWN = 20


class Fencing(NamedTuple):
    """How a lost host is powered off.

    :param by: whose doing it is, for the record.
    :param power_off: called with a host and why it is cordoned; raises unless
        the host is off.
    :param members: returns the hosts whose agents answer; raises where this
        agent leads no longer.
    """

    by: str
    power_off: Callable[[str, str], None]
    members: Callable[[], Collection[str]]


class Attempt(NamedTuple):
    """When a lost host is powered off next, and how often it was tried."""

    due_s: float
    tries: int = 0

    def failed(self, now_s: float) -> Attempt:
        """Return the attempt after one that was in vain."""
        pause_s = min(_FIRST_PAUSE_S * 2**self.tries, _LONGEST_PAUSE_S)
        return Attempt(now_s + pause_s, min(self.tries + 1, _MOST_COUNTED))


class Leader:
    """The agent that watches the hosts for all of them."""

    def __init__(self) -> None:
        self._watch = HostWatch()
        self._attempts: dict[str, Attempt] = {}

    def forget(self) -> None:
        """Wait as long as for any host before the next one is judged.

        For one who led no longer, or does not know what happened meanwhile.
        """
        self._watch = HostWatch()
        self._attempts = {}

    def look(
        self,
        ledger: LedgerDriver,
        members: Collection[str],
        lost_after_s: float,
        say: Callable[[str], None],
        fencing: Fencing | None = None,
    ) -> None:
        """Look at the group, and cordon the hosts that are lost.

        :param members: the hosts whose agents answer.
        :param fencing: powers off one of the lost hosts; None for nothing.
        :raises Error: when the ledger does not answer.
        """
        now = Moment(time.monotonic(), time.time())
        hosts = ledger.hosts()
        judgement = host_watch.judge(
            self._watch, hosts, members, now, lost_after_s
        )
        self._watch = judgement.watch
        if judgement.withheld:
            say(
                "more than half of the hosts do not answer"
                f" ({_shown(judgement.withheld)}); the network or the lock"
                " backend is the likelier fault: no host is marked as lost"
            )
        elif (
            fencing is not None
            and judgement.is_most_away
            and any(host.reason.startswith(LOST) for host in hosts)
        ):
            say(
                "more than half of the hosts do not answer, or are marked as"
                " lost: none is powered off; fence those that you know to be"
                " off with 'gpu-passthrough inventory fence'"
            )
        for host in judgement.lost:
            if _mark(ledger, host, say):
                self._attempts[host.name] = Attempt(now.monotonic_s)
        if fencing is not None and not judgement.is_most_away:
            due_s = now.monotonic_s + lost_after_s
            self._fence(ledger, members, due_s, fencing, say)

    def _fence(
        self,
        ledger: LedgerDriver,
        members: Collection[str],
        due_s: float,
        fencing: Fencing,
        say: Callable[[str], None],
    ) -> None:
        """Fence one lost host that is due, and complete what was begun.

        :param due_s: when a host is due that another leader marked.
        """
        hosts = {
            host.name: host.reason
            for host in ledger.hosts()
            if host.name not in members
            and agent_state.is_lost_or_fenced(host.reason)
        }
        self._attempts = {
            name: self._attempts.get(name, Attempt(due_s)) for name in hosts
        }
        for name, reason in sorted(hosts.items()):
            attempt = self._attempts[name]
            if time.monotonic() < attempt.due_s:
                continue
            self._attempts[name] = attempt.failed(time.monotonic())
            if reason.startswith(FENCED) and not any(
                record.state.is_held for record in ledger.records(host=name)
            ):
                continue
            # A fence that was cut off as well: the host may have been booted
            # since, and its guests with it.
            _run(ledger, name, reason, fencing, say)
            # The membership is checked before the next one.
            break


def _shown(names: Sequence[str]) -> str:
    """Return the first of many names, and how many others there are."""
    more = len(names) - _MOST_SHOWN
    tail = [f"{more} more"] if more > 0 else []
    return ", ".join([*names[:_MOST_SHOWN], *tail])


def _run(
    ledger: LedgerDriver,
    host: str,
    reason: str,
    fencing: Fencing,
    say: Callable[[str], None],
) -> None:
    """Power a host off, and fence it if that was done.

    :param reason: why it is cordoned; whoever changes that has taken it over.
    :raises Unavailable: when this agent leads no longer, or the ledger does
        not answer.
    """
    if host in fencing.members():
        return
    try:
        fencing.power_off(host, reason)
    except errors.Error as error:
        say(f"{error}; what host {host} has stays its guests'")
        return
    if host in fencing.members():
        say(f"the agent of {host} answers again: it was not fenced")
        return
    try:
        fence.fence(ledger, host, fencing.by, say, expected=reason)
    except (errors.Conflict, errors.Refused) as error:
        say(f"host {host} was powered off, and is not fenced: {error}")
        return
    say(f"host {host} was powered off and is fenced")


def _mark(
    ledger: LedgerDriver, host: LostHost, say: Callable[[str], None]
) -> bool:
    """Cordon a lost host; return whether it was done."""
    shown = timestamp.shown(int(host.since_s * 1_000_000))
    reason = f"{LOST}its agent has not answered since {shown}"
    try:
        ledger.cordon(host.name, reason, expected="")
    except (errors.Conflict, errors.Refused) as error:
        # An operator cordoned or removed it meanwhile.
        say(f"host {host.name} was not marked as lost: {error}")
        return False
    say(f"host {host.name} is lost and cordoned: {reason}")
    return True


def watch_own(ledger: LedgerDriver, host: str) -> None:
    """Have a host be lost once its agent answers no more.

    To repeat it writes nothing.
    """
    record = ledger.host(host)
    if record is not None and not record.is_watched:
        ledger.watch(host, True)


def offer(ledger: LedgerDriver, host: str) -> None:
    """Uncordon a host that was marked, and not one that an operator cordoned.

    :raises Conflict: when the cordon changed meanwhile.
    """
    record = ledger.host(host)
    if record is not None and agent_state.is_lost_or_fenced(record.reason):
        ledger.uncordon(host, expected=record.reason)

"""Mark hosts as lost whose agents stopped answering, and offer them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent import host_watch
from gpu_passthrough_plugin.agent.host_watch import (
    HostWatch,
    LostHost,
    Moment,
)
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.agent_state import LOST


class Leader:
    """The agent that watches the hosts for all of them."""

    def __init__(self) -> None:
        self._watch = HostWatch()

    def forget(self) -> None:
        """Wait as long as for any host before the next one is judged.

        For one who led no longer, or does not know what happened meanwhile.
        """
        self._watch = HostWatch()

    def look(
        self,
        ledger: LedgerDriver,
        members: Collection[str],
        lost_after_s: float,
        say: Callable[[str], None],
    ) -> None:
        """Look at the group, and cordon the hosts that are lost.

        :param members: the hosts whose agents answer.
        :raises Error: when the ledger does not answer.
        """
        now = Moment(time.monotonic(), time.time())
        judgement = host_watch.judge(
            self._watch, ledger.hosts(), members, now, lost_after_s
        )
        self._watch = judgement.watch
        if judgement.withheld:
            say(
                "more than half of the hosts do not answer"
                f" ({', '.join(judgement.withheld)}); the network or the lock"
                " backend is the likelier fault: no host is marked as lost"
            )
        for host in judgement.lost:
            _mark(ledger, host, say)


def _mark(
    ledger: LedgerDriver, host: LostHost, say: Callable[[str], None]
) -> None:
    shown = timestamp.shown(int(host.since_s * 1_000_000))
    reason = f"{LOST}its agent has not answered since {shown}"
    try:
        ledger.cordon(host.name, reason, expected="")
    except (errors.Conflict, errors.Refused) as error:
        # An operator cordoned or removed it meanwhile.
        say(f"host {host.name} was not marked as lost: {error}")
        return
    say(f"host {host.name} is lost and cordoned: {reason}")


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

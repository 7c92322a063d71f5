"""Keep this host's agent among the agents, whatever happens to their server.

A thread of its own: passes are never kept waiting by a server of locks, and
a pass that takes long keeps no host from being seen.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.membership import Membership

# How soon it joins again after it failed to, and at the latest.
_RETRY_S = (1.0, 5.0, 15.0, 30.0)
_ROUNDS = 2
_STOP_S = 10.0


class MemberLoop:
    """A membership that is checked every round, and renewed if it is lost.

    :param join: enters the group inside, as ``membership.joined`` does.
    :param work: called in each round while it is a member.
    :param on_join: called after each time it has joined.
    :param say: called with a line when something changed for the worse or
        the better.
    :param round_s: how long a round is.
    """

    def __init__(
        self,
        join: Callable[[], AbstractContextManager[Membership]],
        work: Callable[[Membership], None],
        on_join: Callable[[], None],
        say: Callable[[str], None],
        round_s: float,
    ) -> None:
        self._join = join
        self._work = work
        self._on_join = on_join
        self._say = say
        self._round_s = round_s
        # Agents that join again after their server was restarted do so soon
        # after one another: none is to look lost to the first of them.
        self._longest_s = _ROUNDS * round_s
        self._is_stopped = threading.Event()
        self._is_member = False
        self._fault = ""

    @property
    def is_member(self) -> bool:
        """Whether it was a member in the last round."""
        return self._is_member

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run inside, and leave the group at the end."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_stopped.set()
            thread.join(_STOP_S)

    def run(self) -> None:
        """Run until it is stopped."""
        attempt = 0
        while not self._is_stopped.is_set():
            try:
                with self._join() as membership:
                    attempt = 0
                    self._rounds(membership)
            except errors.Error as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - the agent outlives it
                self._tell(f"unexpected {type(error).__name__}: {error}")
            finally:
                self._is_member = False
            self._is_stopped.wait(min(_RETRY_S[attempt], self._longest_s))
            attempt = min(attempt + 1, len(_RETRY_S) - 1)

    def _rounds(self, membership: Membership) -> None:
        self._is_member = True
        self._fault = ""
        self._say("joined the agents of the other hosts")
        self._on_join()
        while not self._is_stopped.wait(self._round_s):
            membership.require()
            self._work(membership)

    def _tell(self, fault: str) -> None:
        """Report a fault, once for as long as it lasts."""
        if fault != self._fault and not self._is_stopped.is_set():
            self._say(f"not among the agents of the other hosts: {fault}")
        self._fault = fault

"""A process that answers the libvirt hook: one request after another.

What it imported and connected to is kept.  What may hang is done in a thread
of its own, and a process whose thread hangs ends.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import hook_process
from gpu_passthrough_plugin.host.hook_socket import (
    ClientGone,
    Conversation,
    Request,
)

IDLE_S = 300.0
"""For how long connections are kept that nobody needs."""

# Until the configuration is read, whose disk may hang.
_START_LIMIT_S = 30
# What a process collects over time goes with it.
_MAX_REQUESTS = 500
_MAX_ANSWER = 60_000


class Call(Protocol):
    """What a request is answered with; of one worker's process."""

    def require_caller(self) -> None:
        """Raise if who called the hook has ended, or the time is over."""

    def within(
        self, limit_s: float, work: Callable[[], bool], late: str
    ) -> bool:
        """Return what ``work`` returns; raise if that takes too long."""

    def hand_over(self, log: str, words: Sequence[str]) -> None:
        """Have a process of its own run a command that outlives this one.

        :param log: file for what it prints, where systemd runs no process.
        """


class Answerer(Protocol):
    """What answers requests in a worker, and keeps what they need."""

    def answer(self, request: Request, call: Call) -> tuple[int, bytes] | None:
        """Return an exit status and a message; None for no answer."""

    def rest(self) -> None:
        """Close connections that nobody needed for a while."""


class HookWorker:
    """A process that answers one request after another.

    :param channel: over which connections come, and orders go.
    """

    def __init__(
        self, channel: socket.socket, answerer: Callable[[], Answerer]
    ) -> None:
        self._channel = channel
        self._answerer = answerer()
        self._thread = WorkThread()

    def run(self) -> None:
        """Answer requests; return when this process has to end."""
        self._channel.settimeout(IDLE_S)
        for left in reversed(range(_MAX_REQUESTS)):
            with self._next() as connection:
                self._serve(connection)
            # What hangs cannot be interrupted otherwise.
            if self._thread.is_late or not left:
                return
            self._say([])

    def _next(self) -> socket.socket:
        """Return the next connection; rest while there is none."""
        try:
            handles = self._handles()
        except TimeoutError:
            self._thread.within(IDLE_S, self._rest, "")
            self._channel.settimeout(None)
            handles = self._handles()
            self._channel.settimeout(IDLE_S)
        if not handles:
            os._exit(0)
        return socket.socket(fileno=handles[0])

    def _handles(self) -> list[int]:
        _, handles, _, _ = socket.recv_fds(self._channel, 1, 1)
        return handles

    def _rest(self) -> bool:
        self._answerer.rest()
        return True

    def _serve(self, connection: socket.socket) -> None:
        conversation = Conversation(connection)
        hook_process.kill_after(_START_LIMIT_S)
        try:
            # Not answered, the hook does it without the agent.
            with contextlib.suppress(ClientGone, ValueError):
                request = conversation.request()
                call = _WorkersCall(conversation, self._thread, self._say)
                answer = self._answerer.answer(request, call)
                if answer is not None:
                    status, message = answer
                    conversation.answer(status, message[:_MAX_ANSWER])
        finally:
            hook_process.kill_after(0)

    def _say(self, words: Sequence[str]) -> None:
        self._channel.send(json.dumps(words).encode())


class _WorkersCall:
    def __init__(
        self,
        conversation: Conversation,
        thread: WorkThread,
        say: Callable[[Sequence[str]], None],
    ) -> None:
        self._conversation = conversation
        self._thread = thread
        self._say = say

    def require_caller(self) -> None:
        self._thread.require_time()
        self._conversation.require_caller()
        self._thread.require_time()

    def within(
        self, limit_s: float, work: Callable[[], bool], late: str
    ) -> bool:
        # As of the hook's own process, which the kernel ends.
        hook_process.kill_after(math.ceil(limit_s) + _START_LIMIT_S)
        self._conversation.begin(limit_s)
        return self._thread.within(limit_s, work, late)

    def hand_over(self, log: str, words: Sequence[str]) -> None:
        # The other process must not have this one's connections.
        self._say((log, *words))


class WorkThread:
    """A thread for what may hang, and whose connections are kept.

    :ivar is_late: whether it hangs; the process has to end then.
    """

    def __init__(self) -> None:
        self.is_late = False
        self._work: queue.SimpleQueue[Callable[[], bool]] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def within(
        self, limit_s: float, work: Callable[[], bool], late: str
    ) -> bool:
        """Return what ``work`` returns in the thread.

        :param late: what is raised when it takes longer than ``limit_s``.
        :raises Unavailable: when it takes too long.
        :raises Error: that ``work`` raised.
        """
        self._work.put(work)
        try:
            outcome = self._outcomes.get(timeout=limit_s)
        except queue.Empty:
            self.is_late = True
            raise errors.Unavailable(late) from None
        return hook_process.result(outcome)

    def require_time(self) -> None:
        """Raise if nobody waits for the thread any more.

        :raises Refused: when its time is over.
        """
        if self.is_late:
            raise errors.Refused("its time is over; nothing more is claimed")

    def _run(self) -> None:
        while True:
            self._outcomes.put(hook_process.outcome(self._work.get()))

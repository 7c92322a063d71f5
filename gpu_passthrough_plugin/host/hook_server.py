"""The processes of the agent that answer the libvirt hook.

One of them accepts, and hands each connection to a worker, which is kept with
all that it has imported and connected to.  They are forked before the agent
has threads.  A worker that hangs is ended, and harms no other; when all are
busy, the hook is not answered, and does its work itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from gpu_passthrough_plugin.host import hook_process
from gpu_passthrough_plugin.host.hook_socket import is_own_user, listening
from gpu_passthrough_plugin.host.hook_worker import (
    IDLE_S,
    Answerer,
    HookWorker,
)

MAX_WORKERS = 4
_REAP_S = 30.0
_MAX_MESSAGE = 1 << 16


# Runs a command that outlives all of these processes: its log, its words.
RunDetached = Callable[[str, Sequence[str]], None]


class HookServer:
    """The processes that answer the hook, as the agent sees them.

    :ivar is_lost: whether they ended by themselves.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._is_ending = False
        self.is_lost = False

    def watch(self, on_lost: Callable[[], None]) -> None:
        """Call ``on_lost`` if the processes end before ``end``."""
        self._watcher = threading.Thread(
            target=self._wait, args=(on_lost,), daemon=True
        )
        self._watcher.start()

    def _wait(self, on_lost: Callable[[], None]) -> None:
        os.waitpid(self._pid, 0)
        if not self._is_ending:
            self.is_lost = True
            on_lost()

    def end(self) -> None:
        self._is_ending = True
        if not self.is_lost:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._watcher.join()


@contextlib.contextmanager
def serving(
    path: str,
    answerer: Callable[[], Answerer],
    run_detached: RunDetached,
    on_lost: Callable[[], None],
) -> Iterator[HookServer]:
    """Answer the hook at a socket; to be called before there are threads.

    :param answerer: called once in each worker.
    :param run_detached: called with the log and the words of a command.
    :param on_lost: called when no hook is answered any more.
    :raises Refused: or Unavailable, when the socket cannot be made.
    """
    with listening(path) as listener:
        agent_pid = os.getpid()
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if not pid:
            _run_process(
                agent_pid, _Acceptor(listener, answerer, run_detached).run
            )
        server = HookServer(pid)
        server.watch(on_lost)
        try:
            yield server
        finally:
            server.end()


def _run_process(parent_pid: int, run: Callable[[], None]) -> NoReturn:
    """Run what a forked process does, and end it with its parent."""
    try:
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        hook_process.end_with_parent()
        if os.getppid() == parent_pid:
            run()
    except BaseException:  # noqa: BLE001 - logged; there is no caller
        traceback.print_exc()
    finally:
        os._exit(1)


class _Worker:
    """A worker, as who accepts sees it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.is_idle = True
        self.idle_since_s = time.monotonic()


class _Acceptor:
    """Accepts connections; it waits for nothing else, and reads nothing."""

    def __init__(
        self,
        listener: socket.socket,
        answerer: Callable[[], Answerer],
        run_detached: RunDetached,
    ) -> None:
        self._listener = listener
        self._answerer = answerer
        self._run_detached = run_detached
        self._workers: dict[int, _Worker] = {}

    def run(self) -> None:
        self._listener.setblocking(False)
        # The first request waits for no import, either.
        self._new_worker()
        while True:
            for handle in self._ready():
                if handle == self._listener.fileno():
                    self._accept()
                elif handle in self._workers:
                    self._hear(self._workers[handle])
            self._end_idle()
            self._reap()

    def _ready(self) -> list[int]:
        poll = select.poll()
        for handle in (self._listener.fileno(), *self._workers):
            poll.register(handle, select.POLLIN)
        return [handle for handle, _ in poll.poll(_REAP_S * 1000)]

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It is gone again, or there are too many open files.
            time.sleep(0.01)
            return
        with connection:
            if not is_own_user(connection):
                return
            idle = [w for w in self._workers.values() if w.is_idle]
            # The one that was needed last has most of it at hand.
            idle.sort(key=lambda worker: worker.idle_since_s)
            worker = idle[-1] if idle else self._new_worker(connection)
            if worker is None:
                return
            worker.is_idle = False
            try:
                socket.send_fds(worker.channel, [b"c"], [connection.fileno()])
            except OSError:
                self._forget(worker)

    def _new_worker(self, *others: socket.socket) -> _Worker | None:
        """Fork a worker; None where there are enough, or it is refused.

        :param others: what the worker has to close.
        """
        if len(self._workers) >= MAX_WORKERS:
            return None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        acceptor_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            return None
        if not pid:
            ours.close()
            channels = (worker.channel for worker in self._workers.values())
            for inherited in (self._listener, *others, *channels):
                inherited.close()
            make = self._answerer
            _run_process(acceptor_pid, lambda: HookWorker(theirs, make).run())
        theirs.close()
        worker = _Worker(pid, ours)
        self._workers[ours.fileno()] = worker
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Act on what a worker says: that it is done, or what to hand over."""
        try:
            message = worker.channel.recv(_MAX_MESSAGE)
        except OSError:
            message = b""
        if not message:
            self._forget(worker)
            return
        order = json.loads(message)
        if order:
            log, *words = order
            self._run_detached(log, words)
        else:
            worker.is_idle = True
            worker.idle_since_s = time.monotonic()

    def _end_idle(self) -> None:
        """End workers that were needed for a moment only, all but one."""
        before_s = time.monotonic() - IDLE_S
        for worker in list(self._workers.values())[1:]:
            if worker.is_idle and worker.idle_since_s < before_s:
                self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        del self._workers[worker.channel.fileno()]
        worker.channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Reap workers, and what was detached."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

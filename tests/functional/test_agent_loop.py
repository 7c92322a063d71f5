"""What begins a pass of the agent, with libvirt's driver for tests.

Each loop runs in a process of its own, as libvirt's event loop cannot be
stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import libvirt
import pytest

from gpu_passthrough_plugin.host import agent_loop
from gpu_passthrough_plugin.host.agent_loop import AgentLoop, Due
from gpu_passthrough_plugin.host.agent_triggers import Marker
from tests.functional.acts import URI

# Nothing but an event, or a signal, begins another pass.
NEVER_S = 3600.0
# The first pass, and the one after libvirt answered for the first time: no
# further one begins by itself.
FIRST = 2
_LIMIT_S = 60
XML = (
    "<domain type='test'><name>{}</name><memory>1024</memory>"
    "<os><type>hvm</type></os></domain>"
)


class Passes:
    """Passes that are counted, and that end the process when it is enough.

    :param after: called again and again after the first of them.
    """

    def __init__(
        self,
        after: Callable[[], None],
        *,
        enough: int,
        interval_s: float = NEVER_S,
        marker: str = "",
    ) -> None:
        self.count = 0
        self._after = after
        self._enough = enough
        self._due = Due(interval_s, marker)

    def __call__(self) -> Due:
        self.count += 1
        if self.count == 1:
            threading.Thread(target=self._act, daemon=True).start()
        if self.count == self._enough:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._due

    def _act(self) -> None:
        while True:
            time.sleep(2)
            self._after()


def counted(passes: Passes, uri: str = URI) -> int:
    """Run a loop in a process of its own; return how many passes it did."""
    methods = multiprocessing.get_context("fork")
    receiver, sender = methods.Pipe(duplex=False)
    process = methods.Process(target=_run, args=(passes, uri, sender))
    process.start()
    try:
        assert receiver.poll(_LIMIT_S), "the loop did not end"
        count = receiver.recv()
        process.join(_LIMIT_S)
        assert process.exitcode == 0
    finally:
        if process.is_alive():
            process.kill()
    assert isinstance(count, int)
    return count


def _run(passes: Passes, uri: str, sender: Connection) -> None:
    said: list[str] = []
    AgentLoop(passes, uri, said.append).run()
    assert said == []
    sender.send(passes.count)


def start_a_guest() -> None:
    libvirt.open(URI).createXML(XML.format(uuid.uuid4()), 0)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def test_a_guest_that_starts_begins_a_pass() -> None:
    assert counted(Passes(start_a_guest, enough=FIRST + 2)) == FIRST + 2


def test_a_hang_up_begins_a_pass() -> None:
    passes = Passes(hang_up, enough=2)
    assert counted(passes, "test:///nowhere") == 2


def test_an_interval_begins_a_pass() -> None:
    assert counted(Passes(lambda: None, enough=5, interval_s=0.2)) == 5


def test_a_marker_that_never_answers_keeps_no_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on NFS whose server is gone."""

    class Dead(Marker):
        def is_touched(self) -> bool:
            time.sleep(3600)
            return False

    monkeypatch.setattr(agent_loop, "Marker", Dead)
    passes = Passes(lambda: None, enough=5, interval_s=0.2, marker="/nfs/it")
    assert counted(passes) == 5


def test_systemd_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    # A socket's queue has room for few messages.
    monkeypatch.setenv("WATCHDOG_USEC", "1500000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.setblocking(False)
        counted(Passes(lambda: None, enough=6, interval_s=0.2))
        states = list(received(receiver))
    assert states[0] in ("READY=1", "WATCHDOG=1")
    assert "READY=1" in states
    assert states.count("WATCHDOG=1") >= 2
    assert "STOPPING=1" in states


def received(receiver: socket.socket) -> Iterator[str]:
    while True:
        try:
            yield receiver.recv(100).decode()
        except BlockingIOError:
            return

"""What the agent tells systemd, and what that asked for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

# libvirt's binding is compiled, and not installed for unit tests alone.
agent_loop = pytest.importorskip("gpu_passthrough_plugin.host.agent_loop")
notify, watchdog_s = agent_loop.notify, agent_loop.watchdog_s


def test_a_state_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert receiver.recv(100) == b"READY=1"


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gpu-passthrough-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert receiver.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/notify"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "process", "seconds"),
    [
        ("60000000", None, 60.0),
        ("60000000", "own", 60.0),
        ("60000000", "1", None),
        ("0", None, None),
        ("soon", None, None),
        (None, None, None),
    ],
)
def test_after_how_long_it_restarts_the_service(
    monkeypatch: pytest.MonkeyPatch,
    microseconds: str | None,
    process: str | None,
    seconds: float | None,
) -> None:
    pid = str(os.getpid()) if process == "own" else process
    for name, value in (
        ("WATCHDOG_USEC", microseconds),
        ("WATCHDOG_PID", pid),
    ):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert watchdog_s() == seconds

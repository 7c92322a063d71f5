"""The agent answers the hook: the same answer, and nothing more is at risk.

The hook of a *bare* host has no product of its own, as in a container: what
it answers, the agent said.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.flow.hook import RELEASE_LIMIT_S
from gpu_passthrough_plugin.host import hook_server
from gpu_passthrough_plugin.model.unit import State
from tests.functional.hooked import (
    AUDIO,
    GPU,
    ME,
    OTHER,
    HookedHost,
    xml,
)

WHOLE = xml(GPU, AUDIO)
CALLS = (
    ("prepare", xml()),
    ("prepare", xml(AUDIO)),
    ("prepare", "<domain><hostdev"),
    ("prepare", WHOLE),
    ("prepare", xml(GPU, AUDIO, uuid=OTHER)),
    ("reconnect", xml(GPU, AUDIO, uuid=OTHER)),
    ("release", WHOLE),
)


def answers(host: HookedHost) -> list[object]:
    """What the hook answers, and what it leaves behind, call by call."""
    given: list[object] = []
    for operation, text in CALLS:
        step = "end" if operation == "release" else "begin"
        done = host.call(text, operation, step)
        given.append((done.returncode, done.stderr, host.states()))
    return given


@pytest.fixture
def bare(tmp_path: Path) -> HookedHost:
    made = HookedHost(tmp_path)
    made.install(python="/nowhere/python3")
    return made


@pytest.fixture
def asked(bare: HookedHost) -> Iterator[HookedHost]:
    with bare.agent():
        yield bare


def test_the_answers_are_the_hooks_own(
    asked: HookedHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = HookedHost(tmp_path_factory.mktemp("alone"))
    alone.install()
    assert answers(asked) == answers(alone)
    for host in (asked, alone):
        assert [path.name for path in (host.state / "ended").iterdir()] == [ME]


def test_without_an_agent_a_container_refuses(bare: HookedHost) -> None:
    assert host_refuses(bare)
    bare.socket.parent.mkdir(parents=True)
    # As one that was killed leaves it.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(bare.socket))
    assert host_refuses(bare)
    assert bare.call(xml()).returncode == 0
    assert bare.call(WHOLE, "release", "end").returncode == 0
    assert bare.states()[GPU] == ("free", None)


def host_refuses(host: HookedHost) -> bool:
    done = host.call(WHOLE)
    assert done.stderr.count("\n") == 1
    assert str(host.socket) in done.stderr
    return done.returncode == 1


def test_a_change_of_the_host_is_seen(asked: HookedHost) -> None:
    """Of its configuration, and of the ledger's file below it."""
    assert asked.call(xml(GPU)).returncode == 0
    asked.free(ME)
    asked.configure("[hook]\nmode = full\n")
    assert asked.call(xml(GPU)).returncode == 1
    file = asked.state / "ledger.sqlite"
    file.rename(file.with_name("away"))
    done = asked.call(WHOLE)
    assert (done.returncode, "ledger" in done.stderr) == (1, True)
    file.with_name("away").rename(file)
    assert asked.call(WHOLE).returncode == 0
    assert asked.states()[GPU] == ("active", ME)
    # Other options are another configuration.
    asked.config = asked.config.rename(asked.root / "other.conf")
    asked.install(python="/nowhere/python3")
    assert host_refuses(asked)


def test_a_ledger_that_is_silent(asked: HookedHost) -> None:
    """The answer is in time, and the next request is not held by it."""
    assert asked.call(WHOLE).returncode == 0
    holder = sqlite3.connect(
        asked.state / "ledger.sqlite", isolation_level=None
    )
    begun = time.monotonic()
    try:
        holder.execute("BEGIN EXCLUSIVE")
        done = asked.call(WHOLE, "release", "end")
        took_s = time.monotonic() - begun
        assert asked.call(xml(AUDIO.replace(".1", ".7"))).returncode == 1
    finally:
        holder.close()
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert f"{RELEASE_LIMIT_S} s" in done.stderr
    assert RELEASE_LIMIT_S <= took_s < RELEASE_LIMIT_S + 3
    assert (asked.state / "ended" / ME).exists()
    assert asked.states()[GPU] == ("active", ME)


def test_a_guest_whose_libvirt_died_takes_nothing(asked: HookedHost) -> None:
    """Its hook waits for a unit that is free only afterwards."""
    assert asked.call(xml(GPU, AUDIO, uuid=OTHER)).returncode == 0
    ledger = asked.ledger()
    (record,) = ledger.allocation(OTHER).units
    record = ledger.move(record, State.RELEASING)
    code = (
        "import subprocess, sys\n"
        "subprocess.run((sys.argv[1], 'guest', 'prepare', 'begin', '-'),"
        " input=sys.argv[2].encode())\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", code, str(asked.program), WHOLE),
        stderr=subprocess.DEVNULL,
    ) as libvirtd:
        time.sleep(2)
        assert libvirtd.poll() is None
        libvirtd.kill()
    for state in (State.SANITISING, State.FREE):
        record = ledger.move(record, state)
    ledger.close()
    time.sleep(1)
    assert asked.states()[GPU] == ("free", None)


JUNK = (
    b"",
    b"\xff" * 8,
    b"GET / HTTP/1.1\r\n\r\n" * 9,
    b"\0\0\0\1\0\0\0\0x",
    b"\0\0\0\0\1\0\0\0",
    b"\0\1\0\0\0\0\0\0" + b"\0" * (1 << 16),
    b"\0\0\0\2\0\0\0\1--" + b"<",
)


def test_floods_and_malformed_requests_harm_nobody(bare: HookedHost) -> None:
    with bare.agent() as agent:
        for junk in JUNK:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(bare.socket))
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(junk)
                    client.shutdown(socket.SHUT_WR)
                client.settimeout(10)
                with contextlib.suppress(ConnectionResetError):
                    assert client.recv(1) == b""
        clients = []
        for _ in range(300):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            # No more of them wait than the socket's queue has room for.
            with contextlib.suppress(BlockingIOError):
                client.connect(str(bare.socket))
            clients.append(client)
        held = agent.processes()
        # One that accepts, and its workers.
        assert len(held) <= 1 + hook_server.MAX_WORKERS
        assert all(open_files(pid) < 30 for pid in held)
        # Who is silent is not waited for, and then others are answered.
        until = time.monotonic() + 20
        while bare.call(WHOLE).returncode and time.monotonic() < until:
            time.sleep(0.2)
        assert bare.states()[GPU] == ("active", ME)
        for client in clients:
            client.close()
        before = memory_kb(held)
        for _ in range(10):
            assert bare.call(WHOLE).returncode == 0
        assert memory_kb(agent.processes()) < before + 20_000


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kb(pids: list[int]) -> int:
    """What is in the memory of these processes, and no other's."""
    lines = [
        line
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    ]
    return sum(
        int(line.split()[1]) for line in lines if line.startswith("Private_")
    )


FEW_REQUESTS = """
from gpu_passthrough_plugin.host import hook_worker
hook_worker._MAX_REQUESTS = 2
"""


def test_a_worker_that_is_replaced_is_not_missed(bare: HookedHost) -> None:
    with bare.agent(FEW_REQUESTS) as agent:
        seen = set()
        for _ in range(5):
            assert bare.call(WHOLE).returncode == 0
            seen |= set(agent.processes())
        # One that accepts, and three workers after one another.
        assert len(seen) >= 3


def test_the_processes_end_with_the_agent(bare: HookedHost) -> None:
    with bare.agent() as agent:
        assert bare.call(WHOLE).returncode == 0
        held = agent.processes()
        assert len(held) == 2
        os.kill(agent.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while time.monotonic() < until and any(map(is_alive, held)):
            time.sleep(0.05)
        assert not any(map(is_alive, held))
    # What it left is replaced, and removed in the end.
    assert bare.socket.exists()
    with bare.agent():
        assert bare.call(WHOLE).returncode == 0
        assert bare.socket.stat().st_mode & 0o777 == 0o600
        assert bare.socket.parent.stat().st_mode & 0o777 == 0o700
    assert not bare.socket.exists()


def is_alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"

"""How long libvirt waits for the hook while a ledger says nothing."""

from __future__ import annotations

import socketserver
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.flow import hook
from tests.functional.faults.proxy import Proxy
from tests.functional.hooked import AUDIO, GPU, ME, HookedHost, xml
from tests.functional.servers import loopback
from tests.functional.test_hook import given_back

pytest_plugins = ("tests.functional.servers.fixtures",)

WHOLE = xml(GPU, AUDIO)
WAIT_S = 5
# Starting Python here, beside other tests; libvirt's own waits were 99 s.
_START_S = 15
_LIMITS_S = {
    "prepare": WAIT_S + 1,
    "release": hook.RELEASE_LIMIT_S,
    "reconnect": hook.RECONNECT_LIMIT_S,
}


def timed(host: HookedHost, operation: str, text: str = WHOLE) -> float:
    """How long a call took that ends as it has to when nothing answers."""
    begun = time.monotonic()
    step = "end" if operation == "release" else "begin"
    done = host.call(text, operation, step)
    took_s = time.monotonic() - begun
    assert done.returncode == int(operation == "prepare"), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    print(f"{operation} {took_s:.1f} s: {done.stderr}")
    assert took_s < _LIMITS_S[operation] + _START_S
    return took_s


def all_are_bounded(host: HookedHost) -> None:
    # A guest that runs again has no entry: this one comes last.
    for operation in ("prepare", "reconnect", "release"):
        timed(host, operation)
    assert (host.state / "ended" / ME).exists()
    begun = time.monotonic()
    for operation in ("prepare", "release", "reconnect"):
        assert host.call(xml(), operation).returncode == 0
    assert time.monotonic() - begun < _START_S


@pytest.fixture(params=["mariadb", "postgresql"])
def behind(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[HookedHost, Proxy]]:
    server = request.getfixturevalue(request.param)
    with Proxy(server.port) as proxy:
        host = HookedHost(tmp_path, url=server.new_database(port=proxy.port))
        host.configure(
            f"[database]\nconnection = {host.url}\n[hook]\nwait_s = {WAIT_S}\n"
        )
        host.install()
        yield host, proxy


def test_a_server_that_never_says_a_word(
    behind: tuple[HookedHost, Proxy],
) -> None:
    host, proxy = behind
    proxy.speak()
    proxy.fall_silent(0)
    all_are_bounded(host)
    proxy.speak()
    assert host.states()[GPU] == ("free", None)


@pytest.mark.parametrize("operation", ["prepare", "release"])
def test_a_server_that_falls_silent_in_the_middle(
    behind: tuple[HookedHost, Proxy], operation: str
) -> None:
    host, proxy = behind
    if operation == "release":
        assert host.call(WHOLE).returncode == 0
    states = host.states()[GPU]
    proxy.speak()
    assert host.call(WHOLE, "reconnect").returncode == 0
    # A reconnect claims as a start does.
    whole = proxy.passed
    assert whole > 100
    if operation == "prepare":
        given_back(host)
    for part in (0.3, 0.6, 0.9):
        proxy.speak()
        proxy.fall_silent(int(whole * part))
        timed(host, operation)
    proxy.speak()
    if operation == "release":
        assert (host.state / "ended" / ME).exists()
        assert host.states()[GPU][1] == states[1]


def test_a_database_file_that_another_program_keeps_locked(
    tmp_path: Path,
) -> None:
    host = HookedHost(tmp_path)
    host.configure(f"[hook]\nwait_s = {WAIT_S}\n")
    host.install()
    assert host.call(WHOLE).returncode == 0
    other = xml(*("0000:82:00.0", "0000:82:00.1"), uuid=f"1{ME[1:]}")
    holder = sqlite3.connect(
        host.state / "ledger.sqlite", isolation_level=None
    )
    try:
        holder.execute("BEGIN EXCLUSIVE")
        for operation in ("prepare", "reconnect"):
            timed(host, operation, other)
        timed(host, "release")
    finally:
        holder.close()
    assert (host.state / "ended" / ME).exists()
    assert host.states()["0000:82:00.0"] == ("free", None)


def test_a_placement_that_never_says_a_word(
    tmp_path: Path, silent_port: int
) -> None:
    host = HookedHost(tmp_path)
    host.configure(
        "[allocation]\ndriver = placement\n[placement]\nauth_type = none\n"
        f"endpoint_override = http://127.0.0.1:{silent_port}\n"
        f"[hook]\nwait_s = {WAIT_S}\n"
    )
    host.install()
    all_are_bounded(host)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections, reads, and never answers."""

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4096):
                pass

    server = socketserver.ThreadingTCPServer((loopback.HOST, 0), Silent)
    server.daemon_threads = True
    with loopback.serving(server) as port:
        yield port

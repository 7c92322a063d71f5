"""The proxy fails as it is told to, and passes everything otherwise."""

from __future__ import annotations

import contextlib
import gc
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.functional.faults.proxy import Proxy
from tests.functional.servers import loopback


class _Echo(socketserver.BaseRequestHandler):
    """Answers what it was told, and remembers it."""

    heard: list[bytes]

    def handle(self) -> None:
        while chunk := self._received():
            self.heard.append(chunk)
            self.request.sendall(chunk)

    def _received(self) -> bytes:
        try:
            found: bytes = self.request.recv(4096)
        except ConnectionError:
            return b""
        return found


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[Proxy]:
    kind = type("Echo", (_Echo,), {"heard": heard})
    server = socketserver.ThreadingTCPServer((loopback.HOST, 0), kind)
    server.daemon_threads = True
    with loopback.serving(server) as port, Proxy(port) as made:
        yield made


def connected(proxy: Proxy) -> socket.socket:
    """A connection on which something went both ways."""
    found = socket.create_connection(("127.0.0.1", proxy.port), 5)
    found.sendall(b"hello")
    assert found.recv(100) == b"hello"
    return found


def test_everything_passes(proxy: Proxy) -> None:
    with connected(proxy) as client:
        sent = bytes(range(256)) * 4096
        threading.Thread(target=client.sendall, args=(sent,)).start()
        got = b""
        while len(got) < len(sent):
            got += client.recv(65536)
        assert got == sent
        assert proxy.connections == 1


def test_a_hard_cut_resets(proxy: Proxy) -> None:
    with connected(proxy) as client, connected(proxy) as other:
        assert proxy.cut(hard=True) == 2
        for end in (client, other):
            with pytest.raises(ConnectionResetError):
                end.recv(100)
    with connected(proxy):
        pass


def test_a_soft_cut_ends_in_order(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert proxy.cut(hard=False) == 1
        assert client.recv(100) == b""
    with connected(proxy):
        pass


def test_new_connections_are_refused_for_a_while(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.refuse()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
        proxy.accept()
        proxy.accept()
        with connected(proxy):
            pass


def test_what_passes_is_held_back(proxy: Proxy) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    with connected(proxy):
        assert time.monotonic() - began >= 0.2
    proxy.delay(0)
    began = time.monotonic()
    with connected(proxy):
        assert time.monotonic() - began < 0.2


def test_it_falls_silent_in_the_middle(proxy: Proxy) -> None:
    with connected(proxy) as client:
        passed = proxy.passed
        proxy.fall_silent(7)
        client.sendall(b"hello")
        assert client.recv(100) == b"he"
        assert proxy.passed == passed + 10
        client.settimeout(0.2)
        with (
            pytest.raises(TimeoutError),
            socket.create_connection((loopback.HOST, proxy.port), 5) as new,
        ):
            new.settimeout(0.2)
            new.sendall(b"hello")
            new.recv(100)
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.speak()
    with connected(proxy):
        pass


def test_the_answer_alone_is_lost(proxy: Proxy, heard: list[bytes]) -> None:
    with connected(proxy) as client, connected(proxy) as other:
        proxy.lose_answer(b"COMMIT")
        client.sendall(b"select")
        assert client.recv(100) == b"select"
        client.sendall(b"\x07\x00commit\x00")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert b"\x07\x00commit\x00" in heard
        assert proxy.lost == 1
        # One answer, and nobody else's.
        other.sendall(b"commit")
        assert other.recv(100) == b"commit"


def test_a_server_that_is_away_ends_the_connection(proxy: Proxy) -> None:
    with (
        loopback.unserved_port() as port,
        Proxy(port) as other,
        pytest.raises(ConnectionResetError),
        socket.create_connection((loopback.HOST, other.port), 5) as client,
    ):
        client.recv(100)


def test_no_connection_is_left_open_when_others_are_refused(
    proxy: Proxy,
) -> None:
    """One that is accepted at that moment: pytest fails on what is open."""
    is_over = threading.Event()

    def connect() -> None:
        while not is_over.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection((loopback.HOST, proxy.port), 5),
            ):
                pass

    clients = [threading.Thread(target=connect) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(200):
        proxy.refuse()
        proxy.accept()
    is_over.set()
    for client in clients:
        client.join()
    gc.collect()

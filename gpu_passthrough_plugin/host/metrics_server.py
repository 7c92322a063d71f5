"""Serve the agent's metrics to Prometheus: a Unix socket, or loopback.

One thread answers with bytes that a pass left: a request touches nothing
else.  Connections are few, short, and hold no copy of the answer.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import hook_socket
from gpu_passthrough_plugin.model.metric import (
    MetricFamily,
    MetricKind,
    MetricsAddress,
)

MAX_CONNECTIONS = 8
MAX_REQUEST_BYTES = 8192
LIMIT_S = 5.0
_END = b"\r\n\r\n"
_PATHS = (b"/metrics", b"/")
Render = Callable[[Iterable[MetricFamily]], bytes]


def renderer() -> tuple[Render, str]:
    """Return what writes families as Prometheus's text, and its type.

    :raises Unavailable: when the package that does is not installed.
    """
    try:
        from prometheus_client import (
            CONTENT_TYPE_PLAIN_0_0_4,
            CollectorRegistry,
            generate_latest,
        )
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
        )
    except ImportError as error:
        raise errors.Unavailable(
            "[agent] metrics_address needs the Python package"
            " prometheus_client, which cannot be imported"
            f" ({error}); install gpu-passthrough-plugin[metrics]"
        ) from error

    class _Families:
        """What a registry collects."""

        def __init__(self, families: Iterable[MetricFamily]) -> None:
            self._families = families

        def collect(self) -> Iterator[Any]:
            for family in self._families:
                is_counter = family.kind is MetricKind.COUNTER
                make = CounterMetricFamily if is_counter else GaugeMetricFamily
                metric = make(
                    family.name,
                    family.documentation,
                    labels=family.label_names,
                )
                for labels, value in family.samples:
                    metric.add_metric(labels, value)
                yield metric

    def render(families: Iterable[MetricFamily]) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(families))
        return bytes(generate_latest(registry))

    return render, str(CONTENT_TYPE_PLAIN_0_0_4)


class _Client:
    """One connection: what it sent, and what it is still to get."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline_s = time.monotonic() + LIMIT_S
        self.request = b""
        self.head = b""
        self.body = memoryview(b"")


class MetricsServer:
    """Answers in a thread of its own until it is closed.

    :param listener: listens already.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._render, self._type = renderer()
        self._listener = listener
        self._body = b""
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def publish(self, families: Iterable[MetricFamily]) -> None:
        """Answer with these from now on."""
        self._body = self._render(families)

    def start(self) -> None:
        self._listener.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and every connection."""
        self._wake.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            timeout_s = 1.0 if self._clients else None
            for key, _ in self._selector.select(timeout_s):
                if key.fileobj is self._woken:
                    self._end()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd in self._clients:
                    self._serve(self._clients[key.fd])
            now_s = time.monotonic()
            for client in list(self._clients.values()):
                if client.deadline_s < now_s:
                    self._drop(client)

    def _end(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._woken.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It is gone again, or there are too many open files.
            time.sleep(0.01)
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)
        if len(self._clients) == MAX_CONNECTIONS:
            # Others wait in the kernel, which bounds how many.
            self._selector.unregister(self._listener)

    def _drop(self, client: _Client) -> None:
        if len(self._clients) == MAX_CONNECTIONS:
            self._selector.register(self._listener, selectors.EVENT_READ)
        del self._clients[client.connection.fileno()]
        self._selector.unregister(client.connection)
        client.connection.close()

    def _serve(self, client: _Client) -> None:
        """Read on, or write on, as far as that does not wait."""
        try:
            if client.head or client.body:
                self._write(client)
                return
            data = client.connection.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        client.request += data
        if not data or len(client.request) > MAX_REQUEST_BYTES:
            self._drop(client)
        elif _END in client.request:
            self._answer(client)

    def _answer(self, client: _Client) -> None:
        status, body = _status(client.request), self._body
        if status != "200 OK":
            body = f"{status}\n".encode()
        elif client.request.startswith(b"HEAD "):
            body = b""
        kind = self._type if status == "200 OK" else "text/plain"
        client.head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        # The bytes of the pass, not a copy of them.
        client.body = memoryview(body)
        client.request = b""
        self._selector.modify(client.connection, selectors.EVENT_WRITE)

    def _write(self, client: _Client) -> None:
        if client.head:
            sent = client.connection.send(client.head)
            client.head = client.head[sent:]
        else:
            sent = client.connection.send(client.body)
            client.body = client.body[sent:]
        if not client.head and not client.body:
            self._drop(client)


def _status(request: bytes) -> str:
    words = request.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return "400 Bad Request"
    if words[0] not in (b"GET", b"HEAD"):
        return "405 Method Not Allowed"
    is_served = words[1].split(b"?", 1)[0] in _PATHS
    return "200 OK" if is_served else "404 Not Found"


@contextlib.contextmanager
def serving(address: MetricsAddress) -> Iterator[MetricsServer]:
    """Serve metrics at an address inside.

    :raises Refused: or Unavailable, when that is not possible.
    """
    with contextlib.ExitStack() as stack:
        if address.path:
            listener = stack.enter_context(
                hook_socket.listening(address.path, is_alone=False)
            )
        else:
            listener = stack.enter_context(_port(address))
        server = MetricsServer(listener)
        server.start()
        stack.callback(server.close)
        yield server


def _port(address: MetricsAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(MAX_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise errors.Unavailable(
            f"cannot listen at {address} for metrics: {error.strerror}"
        ) from error
    return listener

"""Ports of 127.0.0.1, and servers that run in a thread of the tests.

Servers that are programs of their own are in ``process``.
"""

from __future__ import annotations

import contextlib
import http.server
import random
import socket
import socketserver
import threading
from collections.abc import Iterator

HOST = "127.0.0.1"

# Below what the kernel gives to clients, so that no client takes a server's
# port while it is down.  Source: Linux, ip-sysctl.rst, ip_local_port_range.
_PORTS = range(20000, 32000)


def free_port() -> int:
    """Return a port that no server listens at."""
    while True:
        number = random.choice(_PORTS)  # noqa: S311 - no secret
        with contextlib.suppress(OSError), bound(number):
            return number


def bound(port: int = 0) -> socket.socket:
    """Return a socket that has this port and does not listen yet.

    :param port: 0 for one that the kernel chooses.
    """
    taken = socket.socket()
    try:
        # A connection that ended a moment ago still holds the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
    except OSError:
        taken.close()
        raise
    return taken


@contextlib.contextmanager
def unserved_port(*, accepts: bool = False) -> Iterator[int]:
    """Yield a port where nothing answers: connecting is refused.

    :param accepts: connections are accepted instead, and nothing is said.
    """
    with bound() as taken:
        if accepts:
            taken.listen()
        yield int(taken.getsockname()[1])


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """Yield the port of a server that runs in a thread meanwhile."""
    thread = threading.Thread(target=server.serve_forever)
    with server:
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def http_server(
    handler: type[http.server.BaseHTTPRequestHandler],
) -> contextlib.AbstractContextManager[int]:
    """Return a context with the port of an HTTP server."""
    return serving(http.server.ThreadingHTTPServer((HOST, 0), handler))

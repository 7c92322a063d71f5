"""Certificates, and TLS in front of a server that is asked in plain text."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_DAYS = "2"


class Certificate(NamedTuple):
    """A server's key and certificate, and who signed it."""

    key: Path
    certificate: Path
    authority: Path


@contextlib.contextmanager
def certificate(address: str = "127.0.0.1") -> Iterator[Certificate]:
    """Make a certificate for an address, by an authority of its own."""
    with tempfile.TemporaryDirectory(prefix="gpt-tls.") as name:
        folder = Path(name)
        # Clients and servers run as different users.
        folder.chmod(0o755)
        made = Certificate(*(folder / n for n in ("key", "cert", "ca")))
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-nodes", "-days", _DAYS),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", f"{folder}/ca.key", "-out", str(made.authority)),
            *("-subj", "/CN=tests"),
        )
        _openssl(
            *("req", "-new", "-newkey", "ec", "-nodes"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", str(made.key), "-out", f"{folder}/request"),
            *("-subj", "/CN=server"),
        )
        (folder / "names").write_text(
            f"subjectAltName=IP:{address}\nbasicConstraints=CA:FALSE\n"
        )
        _openssl(
            *("x509", "-req", "-days", _DAYS, "-in", f"{folder}/request"),
            *("-CA", str(made.authority), "-CAkey", f"{folder}/ca.key"),
            *("-extfile", f"{folder}/names", "-out", str(made.certificate)),
        )
        made.authority.chmod(0o644)
        yield made


@contextlib.contextmanager
def before(port: int, certificate: Certificate) -> Iterator[int]:
    """Serve TLS on a port that is yielded, and pass on to another in plain."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with _Front(context, port) as front:
        thread = threading.Thread(target=front.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield front.server_address[1]
        finally:
            front.shutdown()
            front.cut()
            thread.join()


class _Front(socketserver.ThreadingTCPServer):
    """Waits for its connections when it is closed, which ``cut`` ends."""

    daemon_threads = False

    def __init__(self, context: ssl.SSLContext, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.context = context
        self.upstream = upstream
        self._ends: set[socket.socket] = set()

    def opened(self, end: socket.socket) -> None:
        self._ends.add(end)

    def cut(self) -> None:
        for end in self._ends:
            _shut(end)


class _Connection(socketserver.BaseRequestHandler):
    server: _Front

    def handle(self) -> None:
        upstream = ("127.0.0.1", self.server.upstream)
        with contextlib.ExitStack() as stack:
            # A client that does not trust the certificate ends it here.
            stack.enter_context(contextlib.suppress(OSError))
            self.server.opened(self.request)
            outer = stack.enter_context(
                self.server.context.wrap_socket(self.request, server_side=True)
            )
            inner = stack.enter_context(socket.create_connection(upstream))
            self.server.opened(outer)
            self.server.opened(inner)
            there = threading.Thread(target=_copy, args=(outer, inner))
            there.start()
            _copy(inner, outer)
            there.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
    _shut(source)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(end, socket.SHUT_RDWR)


def _openssl(*words: str) -> None:
    subprocess.run(
        ("openssl", *words), check=True, capture_output=True, timeout=60
    )

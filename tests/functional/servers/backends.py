"""etcd, Redis and ZooKeeper, as tooz takes them."""

from __future__ import annotations

import abc
import socket
import urllib.request
from collections.abc import Sequence

from tests.functional.servers.loopback import free_port
from tests.functional.servers.process import Server

PASSWORD = "s3cret"  # noqa: S105 - of a server on loopback that ends soon
_ZOOKEEPER = "/usr/share/java/zookeeper.jar"


class Backend(Server):
    """A server that keeps locks."""

    @property
    def url(self) -> str:
        """tooz's URL of it."""
        return self.url_on(self.port)

    @abc.abstractmethod
    def url_on(self, port: int) -> str:
        """The URL through another port, such as a proxy's."""

    def _told(self, question: bytes) -> bytes:
        """What it says to a question in plain text."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as there:
            there.sendall(question)
            return there.recv(4096)


class Etcd(Backend):
    """A cluster of one."""

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__(durable=durable)
        self._peers = free_port()

    def url_on(self, port: int) -> str:
        return f"etcd3+http://127.0.0.1:{port}"

    def _command(self) -> Sequence[str]:
        clients = f"http://127.0.0.1:{self.port}"
        peers = f"http://127.0.0.1:{self._peers}"
        # A cluster of one need not wait for others to win an election.
        # Leases end no sooner than that lasts, in whole seconds.
        return (
            "etcd",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--heartbeat-interval=50",
            "--election-timeout=500",
        )

    def _answers(self) -> bool:
        health = f"http://127.0.0.1:{self.port}/health"
        with urllib.request.urlopen(health, timeout=5) as answer:
            return b'"true"' in answer.read()


class Redis(Backend):
    """Redis with a password, which writes down each change."""

    def url_on(self, port: int) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{port}"

    def _command(self) -> Sequence[str]:
        flushing = "always" if self.durable else "no"
        return (
            "redis-server",
            *("--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self.folder), "--requirepass", PASSWORD),
            *("--appendonly", "yes", "--appendfsync", flushing, "--save", ""),
        )

    def _answers(self) -> bool:
        told = self._told(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
        return told.startswith(b"+OK")


class ZooKeeper(Backend):
    """A single ZooKeeper."""

    def url_on(self, port: int) -> str:
        return f"zookeeper://127.0.0.1:{port}"

    def _prepare(self) -> None:
        settings = {
            "dataDir": self.folder / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "tickTime": 500,
            "minSessionTimeout": 1000,
            "maxSessionTimeout": 60000,
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "ruok",
        }
        lines = (f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "settings").write_text("".join(lines))
        (self.folder / "settings").chmod(0o644)

    def _command(self) -> Sequence[str]:
        return (
            "java",
            *("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            f"-Dzookeeper.forceSync={'yes' if self.durable else 'no'}",
            *("-cp", _ZOOKEEPER),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(self.folder / "settings"),
        )

    def _answers(self) -> bool:
        return self._told(b"ruok") == b"imok"

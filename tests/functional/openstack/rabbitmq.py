"""RabbitMQ as the tests' own process, not the system's service."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tests.functional.servers.loopback import free_port
from tests.functional.servers.process import Server

USER = "tester"
PASSWORD = "s3cret"  # noqa: S105 - of a server on loopback that ends soon

# The program itself: the one on PATH is a wrapper for the service.
_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
# Source: AMQP 0-9-1, 4.2.2; the server's first frame is a method's.
_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD = b"\x01"
# Idle schedulers sleep; nothing but loopback is listened at.
_ERLANG = (
    "+sbwt none +sbwtdcpu none +sbwtdio none"
    " -kernel inet_dist_use_interface {127,0,0,1}"
)


class Epmd(Server):
    """Erlang's list of nodes.

    Erlang would start one that stays, and that everybody shares.
    """

    def _command(self) -> Sequence[str]:
        return ("epmd", "-port", str(self.port), "-address", "127.0.0.1")

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 5):
            return True


class RabbitMQ(Server):
    """RabbitMQ, a node that knows no other."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes = Epmd()
        self._distribution = free_port()

    def url(self, place: str = "127.0.0.1") -> str:
        """oslo.messaging's URL of it.

        :param place: the address by which it is reached.
        """
        return f"rabbit://{USER}:{PASSWORD}@{place}:{self.port}/"

    def start(self) -> None:
        self._nodes.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._nodes.stop()

    def kill(self) -> None:
        super().kill()
        self._nodes.kill()

    def close(self) -> None:
        super().close()
        self._nodes.close()

    def _prepare(self) -> None:
        settings = {
            "listeners.tcp.default": f"127.0.0.1:{self.port}",
            "default_user": USER,
            "default_pass": PASSWORD,
            "log.console.level": "warning",
            "disk_free_limit.absolute": "50MB",
        }
        lines = (f"{name} = {value}\n" for name, value in settings.items())
        (self.folder / "rabbitmq.conf").write_text("".join(lines))
        (self.folder / "rabbitmq.conf").chmod(0o644)
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "plugins").chmod(0o644)

    def _command(self) -> Sequence[str]:
        here = self.folder
        settings = {
            # Without a shell between it and us, whose end nobody told it.
            "RUNNING_UNDER_SYSTEMD": "true",
            # Where the cookie is.
            "HOME": here,
            "ERL_EPMD_PORT": self._nodes.port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": self._distribution,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": here / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": here / "plugins",
            "RABBITMQ_MNESIA_BASE": here / "mnesia",
            "RABBITMQ_LOG_BASE": here,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": here / "pid",
            "RABBITMQ_GENERATED_CONFIG_DIR": here / "generated",
        }
        listed = (f"{name}={value}" for name, value in settings.items())
        return ("env", "-u", "NOTIFY_SOCKET", *listed, _PROGRAM)

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), 5) as there:
            there.sendall(_GREETING)
            return there.recv(1) == _METHOD

"""Commands in an emulated host, over one shared ssh connection."""

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .image import Image
from .leash import DYING_WITH_US

LOG = "ssh.log"
_SOCKET = "ssh.sock"
_BANNER_TIMEOUT_S = 5.0
_POLL_S = 0.2


class LabError(Exception):
    """The lab itself, or a command that had to succeed in it, failed."""


class HostHung(LabError):
    """The emulated machine does not answer, and its QEMU still runs.

    The message holds what ``postmortem`` found.
    """


class CommandFailed(LabError):
    """A command in the host ended with another status than 0."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.done = done
        super().__init__(
            f"{shlex.join(done.args)}: status {done.returncode}\n"
            f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """The way into one host; its socket is in ``workdir``.

    Every ssh runs in ``workdir`` and names the socket relative to it, as a
    socket's path may have no more than 108 bytes.
    """

    image: Image
    workdir: Path
    port: int

    def argv(self, *rest: str) -> tuple[str, ...]:
        """Return ssh's argument list, with ``rest`` after the host."""
        options = (
            "BatchMode=yes",
            "ConnectTimeout=60",
            "HostKeyAlias=emulated",
            f"ControlPath={_SOCKET}",
            f"UserKnownHostsFile={self.image.known_hosts}",
            f"IdentityFile={self.image.key}",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        )
        given = tuple(word for item in options for word in ("-o", item))
        return ("ssh", "-F", "none", *given, "-p", str(self.port),
                "root@127.0.0.1", *rest)  # fmt: skip

    def popen(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Return a running ssh whose streams are those of ``argv``."""
        return subprocess.Popen(
            (*DYING_WITH_US, *self.argv("--", shlex.join(argv))),
            cwd=self.workdir,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def answers(self, patience_s: float) -> bool:
        """Return whether an ssh server speaks, before so long is over."""
        until = time.monotonic() + patience_s
        while not _answers(self.port):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_S)
        return True

    def share(
        self, until: float, alive: Callable[[], bool]
    ) -> subprocess.Popen[bytes]:
        """Return the connection's master once others can go through it.

        :param until: when to give up, on ``time.monotonic()``'s clock.
        :param alive: tells whether there is still a host to wait for.
        :raises LabError: when there is no connection by then.
        """
        while not _answers(self.port):
            _check(until, alive, "nothing answers at the ssh port")
        (self.workdir / _SOCKET).unlink(missing_ok=True)
        with (self.workdir / LOG).open("w") as said:
            master = subprocess.Popen(
                (*DYING_WITH_US, *self.argv("-M", "-N")),
                cwd=self.workdir, stdin=subprocess.DEVNULL, stderr=said,
            )  # fmt: skip
        while not (self.workdir / _SOCKET).exists():
            if master.poll() is not None:
                raise LabError("ssh could not log in")
            _check(until, alive, "ssh does not finish its login")
        return master


def _answers(port: int) -> bool:
    """Return whether an ssh server speaks at ``port``."""
    try:
        with socket.create_connection(
            ("127.0.0.1", port), _BANNER_TIMEOUT_S
        ) as stream:
            return stream.recv(4) == b"SSH-"
    except OSError:
        return False


def _check(until: float, alive: Callable[[], bool], found: str) -> None:
    """Return after a moment's sleep, if waiting on makes sense."""
    if not alive():
        raise LabError(f"{found}: QEMU has ended")
    if time.monotonic() > until:
        raise LabError(f"{found}: gave up waiting")
    time.sleep(_POLL_S)

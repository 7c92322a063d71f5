"""An emulated host: start it, run commands in it, restart it, stop it."""

import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.functional.servers.loopback import free_port

from . import postmortem, qemu, ssh
from .image import Image
from .leash import DYING_WITH_US
from .ssh import CommandFailed, Connection, HostHung, LabError
from .topology import Topology

BOOT_TIMEOUT_S = 300.0
PATIENCE_S = 45.0
"""How long a machine may be silent before it counts as hung."""
WITH_IOMMU = ("intel_iommu=on",)
WITHOUT_IOMMU = ("intel_iommu=off",)
"""Debian's kernel makes groups unless it is told not to."""

_QEMU_LOG = "qemu.log"
_LOGS = (qemu.CONSOLE, _QEMU_LOG, ssh.LOG)


class EmulatedHost:
    """One host; whatever it writes is in ``workdir``.

    The disk outlives ``stop()`` and ``reboot()``; a fresh host is a new
    one in an empty ``workdir``.

    :param kernel_arguments: what the kernel is told besides its root and
        console; a change counts from the next ``reboot()`` on.  None boots
        what GRUB finds on the disk, as a real host does.
    """

    def __init__(
        self,
        topology: Topology,
        image: Image,
        workdir: Path,
        kernel_arguments: Sequence[str] | None = WITH_IOMMU,
    ) -> None:
        self.topology = topology
        self.image = image
        self.workdir = workdir
        self.kernel_arguments = kernel_arguments
        self._connection = Connection(image, workdir, free_port())
        self._children: list[subprocess.Popen[bytes]] = []
        self.patience_s = PATIENCE_S
        self._is_hung = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return once commands can be run and drivers are bound.

        :raises LabError: with the console's last lines, when that fails.
        """
        until = time.monotonic() + BOOT_TIMEOUT_S
        self.workdir.mkdir(parents=True, exist_ok=True)
        qemu.make_overlay(self.image, self.workdir)
        with (self.workdir / _QEMU_LOG).open("w") as said:
            running = subprocess.Popen(
                (*DYING_WITH_US, *self._qemu()), cwd=self.workdir,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        self._children.append(running)
        try:
            self._children.append(
                self._connection.share(until, lambda: running.poll() is None)
            )
            self.run(("udevadm", "settle"))
        except LabError as error:
            self.stop()
            raise LabError(f"{error}\n{self.console(40)}") from error

    def stop(self) -> None:
        """Return once nothing of the host runs any more."""
        for child in reversed(self._children):
            child.kill()
            child.wait()
        self._children.clear()
        self._is_hung = False

    def reboot(self) -> None:
        """Return once the host went down in good order and is up again."""
        self.run(("systemctl", "--no-block", "reboot"))
        try:
            self._children[0].wait(BOOT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"no reboot\n{self.console(40)}") from error
        self.stop()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no processor of the host's do anything meanwhile."""
        self._children[0].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._children[0].send_signal(signal.SIGCONT)

    def console(self, lines: int) -> str:
        """Return the last lines of the serial console, QEMU and ssh."""
        logs = (self.workdir / name for name in _LOGS)
        texts = (
            log.read_text(errors="replace") for log in logs if log.exists()
        )
        return "\n".join("".join(texts).splitlines()[-lines:])

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout_s: float = 120.0,
        stdin: bytes | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Return how a command in the host ended, and what it wrote.

        :raises CommandFailed: when ``check`` and its status is not 0.
        :raises LabError: when it takes longer than ``timeout_s``.
        :raises HostHung: when the machine does not answer either.
        """
        status, out, err = self._exchange(argv, timeout_s, stdin)
        done = subprocess.CompletedProcess(
            list(argv), status, out.decode(), err.decode()
        )
        if check and status:
            raise CommandFailed(done)
        return done

    def sh(self, script: str, *, timeout_s: float = 120.0) -> str:
        """Return the output of a shell script that had to succeed."""
        argv = ("sh", "-euc", script)
        return self.run(argv, timeout_s=timeout_s).stdout

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Return a command while it runs, so that others can race it."""
        return self._connection.popen(argv)

    def put(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Return once ``path`` in the host has this content and mode."""
        install = ("install", "-D", "-m", f"{mode:o}", "/dev/stdin", path)
        self.run(install, stdin=content)

    def get(self, path: str) -> bytes:
        """Return the content of a file in the host."""
        argv = ("cat", path)
        status, out, err = self._exchange(argv, 120.0, None)
        if status:
            raise CommandFailed(
                subprocess.CompletedProcess(argv, status, "", err.decode())
            )
        return out

    def _exchange(
        self, argv: Sequence[str], timeout_s: float, stdin: bytes | None
    ) -> tuple[int, bytes, bytes]:
        """Return the status, output and errors of a command."""
        if self._is_hung:
            self.require_answer(argv, 0)
        with self._connection.popen(argv) as running:
            try:
                out, err = running.communicate(stdin or b"", timeout_s)
            except subprocess.TimeoutExpired as error:
                running.kill()
                self.require_answer(argv)
                raise LabError(
                    f"{shlex.join(argv)}: still runs after {timeout_s} s"
                ) from error
        return running.returncode, out, err

    def require_answer(
        self, argv: Sequence[str], patience_s: float | None = None
    ) -> None:
        """Return when the machine answers.

        :param argv: what was to be done there.
        :raises HostHung: with what it said last and what its processors do,
            when it does not.
        """
        wait_s = self.patience_s if patience_s is None else patience_s
        self._is_hung = not self._connection.answers(wait_s)
        if self._is_hung:
            found = postmortem.of(self._children[0].pid, self.workdir)
            raise HostHung(f"{shlex.join(argv)}\n{found}\n{self.console(200)}")

    def _qemu(self) -> tuple[str, ...]:
        """Return the command that is the host."""
        return (
            *qemu.command(self.topology, self._connection.port),
            *qemu.kernel(self.image, self.kernel_arguments),
        )


class Boot(Protocol):
    """Boots a fresh host that ends with the test."""

    def __call__(
        self,
        topology: Topology,
        kernel_arguments: Sequence[str] | None = WITH_IOMMU,
        built: Image = ...,
    ) -> EmulatedHost:
        """Return the host once it is up.

        :param built: the disk to start from, where it is not Debian with
            its own initramfs-tools.
        """

"""A server's process: started until it answers, stopped, killed, paused."""

from __future__ import annotations

import abc
import concurrent.futures
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import ClassVar, Self

from tests.functional.lab.leash import DYING_WITH_US
from tests.functional.servers.loopback import free_port

_START_S = 120
_STOP_S = 60
_PAUSE_S = 10
_TAIL_BYTES = 4000

# The kernel kills a server when the *thread* that started it ends; this
# one lives as long as the process, whoever asks it to start something.
# Source: PR_SET_PDEATHSIG(2const).
_STARTER = concurrent.futures.ThreadPoolExecutor(1, "servers")


class Server(abc.ABC):
    """A server below a temporary folder, on a free port of 127.0.0.1.

    It dies with the process that made it.

    :param durable: whether it flushes to the disk; what it acknowledged
        survives its being killed either way.
    :param variables: of its environment, besides ours.
    :cvar needs_user: whether it is run as the user nobody where we are
        root, which several servers refuse.
    """

    needs_user: ClassVar[bool] = True

    def __init__(
        self,
        *,
        durable: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.durable = durable
        self._variables = variables
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="gpt-server."))
        owned(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_prepared = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Returns when it answers; also after a stop and after a kill."""
        assert self._process is None, "it runs already"
        if not self._is_prepared:
            self._prepare()
            self._is_prepared = True
        with self.log.open("ab") as log:
            self._process = _STARTER.submit(
                subprocess.Popen,
                [
                    *(_as_nobody() if self.needs_user else ()),
                    *DYING_WITH_US,
                    *self._command(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self._variables},
                start_new_session=True,
            ).result()
        self._wait_until_answering(self._process)

    def stop(self) -> None:
        """Ends it in order."""
        if self._process:
            self.resume()
            self._process.send_signal(self._stop_signal)
            self._process.wait(_STOP_S)
            self._process = None

    def kill(self) -> None:
        """Ends all of its processes at once, as a loss of power would."""
        if self._process:
            # Those that are stopped start no others meanwhile.
            ending = self._signal(signal.SIGSTOP)
            for pid in ending:
                _told(pid, signal.SIGKILL)
            self._process.wait(_STOP_S)
            self._process = None
            while any(map(_is_running, ending)):
                time.sleep(0.01)

    def pause(self) -> None:
        """Stops all of its processes where they are.

        The parents first: they start no more children then.  A thread that
        runs on another processor stands still a moment after the signal,
        and could answer until then.
        """
        stopped = self._signal(signal.SIGSTOP)
        end = time.monotonic() + _PAUSE_S
        while not all(map(_stands_still, stopped)):
            assert time.monotonic() < end, f"{stopped} do not stop"
            time.sleep(0.01)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes what it left."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    _stop_signal = signal.SIGTERM

    def _prepare(self) -> None:  # noqa: B027 - most need nothing
        """Makes what it needs before its first start."""

    @abc.abstractmethod
    def _command(self) -> Sequence[str]:
        """What runs it in the foreground."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether it does its work; any error means no."""

    def _signal(self, number: int) -> tuple[int, ...]:
        """The processes that were told."""
        assert self._process, "it does not run"
        told = []
        for pid in _tree(self._process.pid):
            _told(pid, number)
            told.append(pid)
        return tuple(told)

    def _wait_until_answering(self, process: subprocess.Popen[bytes]) -> None:
        last: Exception | None = None
        end = time.monotonic() + _START_S
        while time.monotonic() < end and process.poll() is None:
            try:
                if self._answers():
                    return
            except Exception as error:  # noqa: BLE001 - told below
                last = error
            time.sleep(0.05)
        tail = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        self.kill()
        raise AssertionError(
            f"{type(self).__name__} did not start: {last}\n{tail}"
        )


def owned(path: Path) -> None:
    """Makes it the servers' own."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def run(*command: str, folder: Path) -> None:
    """Runs it as the servers are; its output is told where it fails."""
    done = subprocess.run(
        [*_as_nobody(), *DYING_WITH_US, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}"


def _as_nobody() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    nobody = pwd.getpwnam("nobody")
    ids = (f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}")
    return ("setpriv", *ids, "--clear-groups", "--")


def _told(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_running(pid: int) -> bool:
    # One that nobody waits for leaves its number.
    return _state(Path(f"/proc/{pid}")) not in "ZX"


def _stands_still(pid: int) -> bool:
    """Whether every thread of it is stopped, or is no more."""
    threads = Path(f"/proc/{pid}/task").glob("*")
    return all(_state(thread) in "TtZX" for thread in threads)


def _state(folder: Path) -> str:
    """A process's or thread's letter.  Source: proc_pid_stat(5)."""
    try:
        told = (folder / "stat").read_text()
    except OSError:
        return "X"
    return told.rpartition(")")[2].split()[0]


def _tree(pid: int) -> Iterator[int]:
    """The process and those below it, each before its children are read."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))

"""How the host's own commands are run: one at a time, without a shell."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.host_path import local_path
from gpu_passthrough_plugin.host.local_lock import try_lock
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model.reading import encoded

_LOG = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UMASK = 0o022
_GRACE_S = 5
_POLL_S = 0.1
_SHOWN_LINES = 3
_TAIL_BYTES = 4096


def environment(root: str = "/") -> dict[str, str]:
    """Return the environment that the host's commands are run in.

    Nothing of it is the caller's: neither the language nor the PATH.

    :param root: folder below which programs are looked up.
    """
    folders = (local_path(root, folder) for folder in _PATH.split(":"))
    return {
        "HOME": "/root",
        "LC_ALL": "C",
        # LVM's tools warn about file descriptors that they did not open.
        "LVM_SUPPRESS_FD_WARNINGS": "1",
        "PATH": ":".join(folders),
    }


class Commands:
    """Runs one command at a time, even after a caller was killed.

    A command continues when its caller is killed; it holds a lock, which
    the next command waits for.

    :param log: file that the commands' output is appended to.
    :param lock: file that the lock is taken on.
    :param say: called every ``beat_s`` while a command is running.
    :param root: folder that programs are run in and looked up below.
    :param timeout_s: how long a command may take.
    :param patience_s: how long to wait for a command that a killed caller
        left running.
    """

    def __init__(
        self,
        log: str,
        lock: str,
        say: Callable[[str], None],
        *,
        root: str = "/",
        timeout_s: float = 7200,
        patience_s: float = 3600,
        beat_s: float = 5,
    ) -> None:
        self._log = log
        self._lock = lock
        self._say = say
        self._root = root
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._beat_s = beat_s

    def settle(self) -> None:
        """Wait until no command of a killed caller is running.

        :raises Unavailable: when one still runs after ``patience_s``.
        """
        # A plan creates nothing: where no command ever ran, none is running.
        if os.path.exists(self._lock):
            with self._locked("nothing"):
                pass

    def run(self, argv: Sequence[str], title: str) -> None:
        """Run a command; its output goes to the log.

        :param title: what the command does, for an operator.
        :raises Unavailable: when it fails, or takes too long.
        """
        with self._opened() as log:
            self._run(argv, title, log, log)

    def output(self, argv: Sequence[str], title: str) -> str:
        """Run a command; return its standard output.

        :raises Unavailable: as ``run`` does.
        """
        with (
            self._opened() as log,
            tempfile.TemporaryFile(dir=os.path.dirname(self._log)) as output,
        ):
            self._run(argv, title, output, log)
            output.seek(0)
            return output.read().decode(errors="replace")

    def _run(
        self,
        argv: Sequence[str],
        title: str,
        output: IO[bytes],
        log: IO[bytes],
    ) -> None:
        program = local_path(self._root, argv[0])
        with self._locked(title) as lock:
            with contextlib.suppress(OSError):
                log.write(encoded(f"\n# {title}: {' '.join(argv)}\n"))
            start = log.seek(0, os.SEEK_END)
            try:
                # Not a pipe: it would break when this process is killed.
                process = subprocess.Popen(  # noqa: S603 - no shell
                    [program, *argv[1:]],
                    cwd=self._root,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    umask=_UMASK,
                )
            except OSError as error:
                raise errors.Unavailable(
                    f"failed at step '{title}': cannot run {argv[0]}:"
                    f" {error.strerror}"
                ) from error
            _LOG.info("%s: run %s", title, " ".join(argv))
            status = self._waited(process, title)
            _LOG.info("%s: %s %s", title, argv[0], _ending(status))
        if status != 0:
            raise errors.Unavailable(
                f"failed at step '{title}': {argv[0]} {_ending(status)}:"
                f" {self._last_lines(start)}; full output: {self._log}"
            )

    def _waited(
        self, process: subprocess.Popen[bytes], title: str
    ) -> int | None:
        """Return the exit status; None when the command timed out."""
        start = time.monotonic()
        try:
            while (age_s := time.monotonic() - start) < self._timeout_s:
                left_s = self._timeout_s - age_s
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(min(self._beat_s, left_s))
                self._say(f"{title}: {time.monotonic() - start:.0f} s")
        finally:
            if process.poll() is None:
                _end(process)
        return None

    @contextlib.contextmanager
    def _locked(self, title: str) -> Iterator[int]:
        """Hold the lock; give its descriptor, for the command to inherit."""
        handle = _handle(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            self._wait_for(handle)
            # Best effort, for the waiter's message.
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
                os.pwrite(handle, encoded(title), 0)
            yield handle
            # Releases it for programs that the command left running, too.
            fcntl.flock(handle, fcntl.LOCK_UN)
        finally:
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        start, shown_s = time.monotonic(), -self._beat_s
        while not try_lock(handle):
            age_s = time.monotonic() - start
            title = os.pread(handle, _TAIL_BYTES, 0).decode(errors="replace")
            if age_s > self._patience_s:
                raise errors.Unavailable(
                    "a command that an interrupted run started is still"
                    f" running after {age_s:.0f} s ({title}); find it with"
                    f" 'fuser {self._lock}' and try again when it has ended"
                )
            if age_s - shown_s >= self._beat_s:
                shown_s = age_s
                self._say(
                    "waiting for a command that an interrupted run started"
                    f" ({title}): {age_s:.0f} s"
                )
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with open(_handle(self._log, flags), "ab", buffering=0) as file:
            yield file

    def _last_lines(self, start: int) -> str:
        """Return the last lines that were logged from an offset on."""
        with open(self._log, "rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start, size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        texts = [" ".join(line.split()) for line in lines if line.strip()]
        return " | ".join(texts[-_SHOWN_LINES:]) or "no output"


def _handle(path: str, flags: int) -> int:
    try:
        make_private(os.path.dirname(path))
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise errors.Unavailable(
            f"cannot open {path}: {error.strerror}; see [DEFAULT] state_path"
        ) from error


def _ending(status: int | None) -> str:
    if status is None:
        return "timed out and was killed"
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with exit status {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command, and the programs that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return

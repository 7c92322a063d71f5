"""Locks among the processes of this host, and which process holds one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.ownership import make_private

_POLL_S = 0.05
_COMMAND_WORDS = 4
_COMMAND_LENGTH = 80


class LocalLock:
    """A lock on a file; the kernel releases it when its holder ends.

    What has it may take it again.

    :param title: what it protects, such as "this host's boot files".
    :param timeout_s: how long to wait for it.
    :param on_wait: called once with who holds the lock, when it is not free.
    """

    def __init__(
        self,
        path: str,
        title: str,
        *,
        timeout_s: float,
        on_wait: Callable[[str], None],
    ) -> None:
        self._path = path
        self._title = title
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._depth = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock inside.

        :raises Unavailable: when it does not become free in time, or its
            file cannot be opened.
        """
        with contextlib.ExitStack() as stack:
            if not self._depth:
                handle = self._opened()
                stack.callback(os.close, handle)
                self._take(handle)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            make_private(os.path.dirname(self._path))
            return os.open(self._path, flags, 0o600)
        except OSError as error:
            raise errors.Unavailable(
                f"cannot open {self._path}: {error.strerror}; see [DEFAULT]"
                " state_path"
            ) from error

    def _take(self, handle: int) -> None:
        start = time.monotonic()
        is_said = False
        while not try_lock(handle):
            if time.monotonic() - start >= self._timeout_s:
                raise errors.Unavailable(
                    f"{self._title} were not free within {self._timeout_s:g}"
                    f" s: held by {owner(self._path)}; try again when that"
                    " command has ended"
                )
            if not is_said:
                is_said = True
                self._on_wait(
                    f"waiting for {self._title}, held by {owner(self._path)}"
                )
            time.sleep(_POLL_S)
        # Best effort, for the waiter's message.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, _note().encode(errors="replace"), 0)


def try_lock(handle: int) -> bool:
    """Lock an open file if it is free; return whether it was."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: str) -> bool:
    """Return whether a process has locked this file; False without one.

    :raises Unavailable: when that cannot be found out.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise errors.Unavailable(
            f"cannot open {path}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def owner(note: str) -> str:
    """Return a description of the process whose note is at this path.

    A note whose process has exited is ignored: its process was killed while
    it held the lock.
    """
    with contextlib.suppress(OSError, ValueError):
        with open(note, encoding="utf-8") as file:
            pid, _, command = file.read().partition(" ")
            taken = os.fstat(file.fileno()).st_mtime
        if os.path.exists(f"/proc/{int(pid)}"):
            age_s = max(0, round(time.time() - taken))
            return f"process {pid} ({command}) for {age_s} s"
    return "an unknown process"


def write_note(note: str) -> None:
    """Note this process.

    Best effort, for the waiter's message: a failed write is ignored.
    """
    pid = os.getpid()
    with contextlib.suppress(OSError):
        with open(
            f"{note}.{pid}", "w", encoding="utf-8", errors="replace"
        ) as file:
            file.write(_note())
        os.replace(f"{note}.{pid}", note)


def remove_note(note: str) -> None:
    """Remove this process's note, before the lock is released.

    If the lock was lost, the note may be the next holder's.
    """
    with contextlib.suppress(OSError):
        with open(note, encoding="utf-8", errors="replace") as file:
            is_own = file.read().startswith(f"{os.getpid()} ")
        if is_own:
            os.unlink(note)


def _note() -> str:
    """Return what tells of this process: its number, and its command."""
    names = map(os.path.basename, sys.orig_argv[:_COMMAND_WORDS])
    command = " ".join(" ".join(names).split())[:_COMMAND_LENGTH]
    return f"{os.getpid()} {command}"

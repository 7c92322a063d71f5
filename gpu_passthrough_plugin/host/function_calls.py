"""Have the kernel act on functions in a child process bounded in time.

A write to ``unbind`` or ``reset`` returns when a driver, or a device, is done
with it.  Where it never is, the process that wrote sleeps in state D, and no
signal ends it: that must not be the process that holds the host's lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, NoReturn

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import hook_process, privileges
from gpu_passthrough_plugin.host.local_lock import try_lock
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model.address import Address

_LOG = logging.getLogger(__name__)

TIMEOUT_S = 120.0
# How long a child that was killed may take to be gone.
_GRACE_S = 2.0
_POLL_S = 0.02
_NOTE_BYTES = 4096


class Write(NamedTuple):
    """One write to a file of sysfs."""

    path: str
    text: str


class FunctionCalls:
    """Runs one child at a time for each function.

    A child has a lock on a file named after each of its functions for as
    long as it lives, whatever became of the process that started it.

    :param folder: where these files are; only this user can change it.
    :param timeout_s: how long a child may take; it is killed after that, and
        left where it does not end even then.
    :param ends_with: the signal that ends a child; a test gives one that a
        child can ignore, as one in state D ignores SIGKILL.
    """

    def __init__(
        self,
        folder: str,
        timeout_s: float = TIMEOUT_S,
        *,
        ends_with: int = signal.SIGKILL,
        grace_s: float = _GRACE_S,
    ) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._signal = ends_with
        self._grace_s = grace_s
        self._left: set[int] = set()

    def run(
        self,
        title: str,
        addresses: Sequence[Address],
        work: Callable[[], None],
        *,
        keeps: AbstractSet[int] = frozenset(),
    ) -> None:
        """Do ``work`` in a child.

        The child has no open file of this process's, and no capability but
        those in ``keeps``.  What it started and left running is ended.

        :param title: what is done, such as "reset of 0000:06:00.0".
        :param addresses: the functions whose state the kernel locks for it.
        :raises Stuck: when the child does not end in time, or an earlier
            child for one of the functions still lives.
        :raises Unavailable: when the child dies.
        :raises Error: that ``work`` raised.
        """
        self._reap()
        with contextlib.ExitStack() as stack:
            marks = [self._marked(stack, a) for a in sorted(set(addresses))]
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            pid = os.fork()
            if not pid:
                note = _note(title, self._timeout_s + self._grace_s)
                _work(writer, marks, note, work, keeps)
            os.close(writer)
            text = hook_process.read_until(
                reader, time.monotonic() + self._timeout_s
            )
            self._end(pid, title, is_late=text is None)
            for address in addresses:
                with contextlib.suppress(OSError):
                    os.unlink(self._path(address))
        if not text:
            raise errors.Unavailable(
                f"{title} was not done: the process that did it was killed;"
                " see the kernel's log"
            )
        hook_process.result_of(text)

    def write(
        self,
        title: str,
        address: Address,
        *writes: Write,
        last: Write | None = None,
    ) -> None:
        """Make writes to files of a function, one after another.

        :param last: made in any case, also after one that failed.
        :raises Stuck: as ``run`` does.
        :raises Unavailable: when the kernel refuses one.
        """
        for path, text in (*writes, *((last,) if last else ())):
            _LOG.info("write %r to %s", text, path)

        def work() -> None:
            try:
                for path, text in writes:
                    _write(path, text)
            finally:
                if last is not None:
                    _write(*last)

        self.run(title, (address,), work)

    def stuck(self, address: Address | str) -> str:
        """Return which child does not end, with its title; "" for none.

        What the kernel locks for that child would hold a reader up as well.
        """
        path = self._path(address)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return ""
        try:
            if _is_lockable(handle):
                return ""
            note = json.loads(os.pread(handle, _NOTE_BYTES, 0))
            is_late = time.clock_gettime(time.CLOCK_BOOTTIME) > note["until_s"]
            return _unfinished(note["pid"], note["title"]) if is_late else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        finally:
            os.close(handle)

    def _path(self, address: Address | str) -> str:
        return os.path.join(self._folder, str(address))

    def _marked(self, stack: contextlib.ExitStack, address: Address) -> int:
        """Lock the function's file; return its descriptor."""
        path = self._path(address)
        deadline = time.monotonic() + self._timeout_s
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            try:
                make_private(self._folder)
                handle = os.open(path, flags, 0o600)
            except OSError as error:
                raise errors.Unavailable(
                    f"cannot open {path}: {error.strerror}; see [DEFAULT]"
                    " state_path"
                ) from error
            if try_lock(handle) and _is_at(handle, path):
                stack.callback(os.close, handle)
                return handle
            os.close(handle)
            # That of a command that was killed may end yet.
            if (stuck := self.stuck(address)) or time.monotonic() > deadline:
                raise errors.Stuck(
                    f"nothing more is done to {address}:"
                    f" {stuck or 'another process acts on it'}"
                )
            time.sleep(_POLL_S)

    def _end(self, pid: int, title: str, *, is_late: bool) -> None:
        """End the child with all that it started, and reap it.

        A driver of a third party may have started programs that still act on
        the device, whatever became of the child.

        :raises Stuck: when it is late, with whether it was left.
        """
        try:
            os.killpg(pid, self._signal)
        except ProcessLookupError:
            # It has not come to have a group of its own yet.
            os.kill(pid, self._signal)
        deadline = time.monotonic() + self._grace_s
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                self._left.add(pid)
                raise errors.Stuck(
                    f"{title} took longer than {self._timeout_s:g} s, and"
                    f" {_unfinished(pid, title)}; the kernel does not let it"
                    " be killed, and nothing more is done to the function"
                    " while it lives: see the kernel's log, and reboot the"
                    " host"
                )
            time.sleep(0.001)
        if is_late:
            raise errors.Stuck(
                f"{title} took longer than {self._timeout_s:g} s, and its"
                f" process {pid} was killed; see the kernel's log"
            )

    def _reap(self) -> None:
        """Reap children that were left, and ended since."""
        for pid in tuple(self._left):
            with contextlib.suppress(ChildProcessError):
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    continue
            self._left.discard(pid)


def _write(path: str, text: str) -> None:
    try:
        # A single unbuffered write: the kernel's error is this call's.
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode("ascii"))
        finally:
            os.close(handle)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        raise errors.Unavailable(
            f"cannot write {text.strip()!r} to {path}: {error.strerror}"
            f" ({name})"
        ) from error


def _unfinished(pid: int, title: str) -> str:
    return f"process {pid} has not finished it ({title})"


def _note(title: str, limit_s: float) -> bytes:
    """Return what tells of this process: its number, and its work."""
    until_s = time.clock_gettime(time.CLOCK_BOOTTIME) + limit_s
    note = {"pid": os.getpid(), "title": title, "until_s": until_s}
    return json.dumps(note).encode()


def _is_at(handle: int, path: str) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _is_lockable(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _work(
    writer: int,
    marks: Sequence[int],
    note: bytes,
    work: Callable[[], None],
    keeps: AbstractSet[int],
) -> NoReturn:
    """Write the outcome of ``work``, and end; no handler of Python's runs."""

    def confined() -> bool:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        _close_others({*marks, writer})
        for mark in marks:
            os.ftruncate(mark, 0)
            os.pwrite(mark, note, 0)
        privileges.keep(keeps)
        work()
        return True

    try:
        text = json.dumps(hook_process.outcome(confined)).encode()
        os.write(writer, text)
    finally:
        os._exit(0)


def _close_others(kept: AbstractSet[int]) -> None:
    """Close every descriptor from 3 on, such as that of the host's lock."""
    start = 3
    for handle in sorted(kept):
        os.closerange(start, handle)
        start = handle + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))

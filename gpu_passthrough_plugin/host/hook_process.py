"""How the hook's process is kept from outliving its caller and its deadline.

A call that hangs in a database's driver, in the resolver or on a disk cannot
be interrupted from inside: it is made in a child process, which is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn

from gpu_passthrough_plugin import errors

# Source: kernel, include/uapi/linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# How long a killed child may take to be gone; one that waits for a disk
# cannot be killed, and is left to init.
_KILL_S = 0.2
_CHUNK_BYTES = 1 << 16
_MAX_TEXT = 8192


class Caller(NamedTuple):
    """The process that started the hook, and waits for it.

    :param pid: its number.
    :param hook_pid: the hook's own.
    """

    pid: int
    hook_pid: int

    def require(self) -> None:
        """Raise if the caller has ended, so that nobody starts the guest.

        Where a confined libvirt hides processes, only the kernel tells.

        :raises Refused: when it has.
        """
        if _parent(self.hook_pid) not in (self.pid, None):
            raise errors.Refused(
                "the process that called the hook has ended; nothing more was"
                " claimed for the guest; start it again"
            )

    def end_with_it(self) -> None:
        """Have the kernel kill this process when the caller ends.

        :raises Refused: when it has ended already.
        """
        end_with_parent()
        self.require()


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent's thread ends."""
    # Without it, the caller is still compared before each change.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _parent(pid: int) -> int | None:
    """Return a process's parent, 0 for one that ended; None if unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # Its name is in parentheses, and may have some.
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0 if os.path.exists("/proc/self") else None
    except (OSError, ValueError, IndexError):
        return None


def kill_after(seconds: int) -> None:
    """Have the kernel kill this process after so many seconds; 0 for never.

    This ends even a process whose interpreter does not run any more.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


def within(limit_s: float, work: Callable[[], bool], late: str) -> bool:
    """Return what ``work`` returns in a child process.

    The child has none of the hook's pipes: the caller does not wait for it.

    :param limit_s: after which the child is killed, whatever it is doing.
    :param late: what is raised then.
    :raises Unavailable: when the child is killed, or dies.
    :raises Error: that ``work`` raised.
    """
    deadline = time.monotonic() + limit_s
    hook_pid = os.getpid()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _work(hook_pid, writer, work)
    os.close(writer)
    try:
        text = read_until(reader, deadline)
    finally:
        os.close(reader)
        _end(child)
    if text is None:
        raise errors.Unavailable(late)
    return result_of(text)


def _work(hook_pid: int, writer: int, work: Callable[[], bool]) -> NoReturn:
    """Write the result of ``work``, and end; no handler of the hook's runs."""
    try:
        end_with_parent()
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        if os.getppid() == hook_pid:
            with open(writer, "wb") as file:
                file.write(json.dumps(outcome(work)).encode())
    finally:
        os._exit(0)


def outcome(work: Callable[[], bool]) -> dict[str, object]:
    """Return what ``work`` returns or raises, for ``result``."""
    try:
        return {"result": work()}
    except errors.Error as error:
        # Ledgers have classes of their own, which the hook does not know.
        kind = next(
            k for k in type(error).__mro__ if k.__module__ == errors.__name__
        )
        if kind is errors.Faults:
            kind = errors.Invalid
        return {"error": kind.__name__, "text": str(error)[:_MAX_TEXT]}
    except Exception as error:  # noqa: BLE001 - reported by the hook
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return {"error": "Unavailable", "text": text[:_MAX_TEXT]}


def read_until(reader: int, deadline: float) -> bytes | None:
    """Return everything that is written; None if that takes too long."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    text = b""
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            return None
        chunk = os.read(reader, _CHUNK_BYTES)
        if not chunk:
            return text
        text += chunk


def _end(child: int) -> None:
    """Kill the child, if it still runs, and reap it."""
    deadline = time.monotonic() + _KILL_S
    os.kill(child, signal.SIGKILL)
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


def result_of(text: bytes) -> bool:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise errors.Unavailable(
            "the process that asks the ledger died; see the kernel's log"
        ) from error
    return result(document)


def result(document: Mapping[str, Any]) -> bool:
    """Return what an ``outcome`` has, or raise its error.

    :raises Error: that ``work`` raised, or that stands for it.
    """
    if "error" not in document:
        return bool(document["result"])
    raise getattr(errors, document["error"])(document["text"])

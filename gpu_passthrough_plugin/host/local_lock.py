"""Which process holds a lock of this host, as it notes in a file."""

from __future__ import annotations

import contextlib
import os
import time

_COMMAND_WORDS = 4
_COMMAND_LENGTH = 80


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
        with open(f"{note}.{pid}", "w", encoding="utf-8") as file:
            file.write(f"{pid} {_command()}")
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


def _command() -> str:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")[:_COMMAND_WORDS]
    names = (os.path.basename(word.decode(errors="replace")) for word in words)
    return " ".join(" ".join(names).split())[:_COMMAND_LENGTH]

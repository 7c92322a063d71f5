"""Who holds a host's lock, noted for those who wait for it."""

from __future__ import annotations

import contextlib
import json
import os
import time

_WORDS = 4
_LENGTH = 80
_MALFORMED = (ValueError, KeyError, TypeError)


def write(path: str) -> None:
    """Note this process.  A courtesy: what cannot be noted is not."""
    beside = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        note = {
            "pid": os.getpid(),
            "command": _command(),
            "since": time.time(),
        }
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(beside, path)


def remove(path: str) -> None:
    """Take this process's note away, before the lock is let go.

    Where the lock was lost, the note may be the next one's.
    """
    with contextlib.suppress(OSError, *_MALFORMED):
        with open(path, encoding="utf-8") as file:
            is_own = json.load(file)["pid"] == os.getpid()
        if is_own:
            os.unlink(path)


def told(path: str) -> str:
    """Who it is, as an operator is told.

    A note whose process is gone is of one that died with the lock.
    """
    try:
        with open(path, encoding="utf-8") as file:
            note = json.load(file)
        pid, command = int(note["pid"]), str(note["command"])
        age_s = max(0, round(time.time() - float(note["since"])))
    except (OSError, *_MALFORMED):
        return "a process that left no note yet"
    if not os.path.exists(f"/proc/{pid}"):
        return "a process that left no note yet"
    return f"process {pid} ({command}) since {age_s} s"


def _command() -> str:
    with open("/proc/self/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    names = [
        os.path.basename(word.decode(errors="replace"))
        for word in words[:_WORDS]
    ]
    return " ".join(" ".join(names).split())[:_LENGTH]

"""What an emulated machine that stands still is doing, for its error."""

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from .qemu import MONITOR

_ANSWER_S = 5.0
_BETWEEN_S = 1.0
_QUESTIONS = ("info status", "info registers -a", "info lapic")
_KEYS = ("sendkey alt-sysrq-w", "sendkey alt-sysrq-l")
"""The kernel lists what is blocked, and what each processor is at."""


def of(pid: int, workdir: Path) -> str:
    """Return what QEMU says of its processors, and the kernel of QEMU.

    Both are asked twice: what changes meanwhile does not stand still.  The
    kernel is asked to write to its console what it waits for.

    :param pid: QEMU's process.
    :param workdir: where it runs.
    """
    first = [*_threads(pid), *_asked(workdir, _QUESTIONS + _KEYS)]
    time.sleep(_BETWEEN_S)
    return "\n".join([*first, *_threads(pid), *_asked(workdir, _QUESTIONS)])


def _threads(pid: int) -> Iterator[str]:
    """Return a line for each of QEMU's threads: state and CPU time."""
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with suppress(OSError):
            name, rest = (task / "stat").read_text().rsplit(")", 1)
            fields = rest.split()
            where = (task / "wchan").read_text()
            yield f"{name}) {fields[0]} {fields[11]} ticks in {where}"


def _asked(workdir: Path, questions: Sequence[str]) -> Iterator[str]:
    """Return QEMU's answers; or why there are none."""
    folder = os.open(workdir, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(_ANSWER_S)
            # Below a short name, as a socket's path has 108 bytes at most.
            stream.connect(f"/proc/self/fd/{folder}/{MONITOR}")
            with stream.makefile("rw") as monitor:
                json.loads(monitor.readline())
                _told(monitor, "qmp_capabilities")
                for question in questions:
                    yield _told(monitor, "human-monitor-command",
                                {"command-line": question})  # fmt: skip
    except (OSError, ValueError) as error:
        yield f"QEMU's monitor: {error}"
    finally:
        os.close(folder)


def _told(
    monitor: IO[str], command: str, arguments: dict[str, str] | None = None
) -> str:
    """Return the answer to one command."""
    call = {"execute": command, "arguments": arguments or {}}
    monitor.write(json.dumps(call) + "\n")
    monitor.flush()
    answer: dict[str, Any] = {}
    while "return" not in answer and "error" not in answer:
        answer = json.loads(monitor.readline())
    found = answer.get("return") or answer.get("error") or ""
    return str(found).replace("\r", "")

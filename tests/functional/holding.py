"""Processes that hold a host's lock, on any backend, and those who try."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOST = "node-1"

HOLD = """
import sys, warnings
warnings.simplefilter("ignore")
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.locks import HostLock
url, host, folder = sys.argv[1:]
lock = HostLock(url, host, folder=folder, timeout_s=30, on_wait=print)
with lock():
    print("held", flush=True)
    for line in sys.stdin:
        try:
            lock.require()
            print("still held", flush=True)
        except errors.Unavailable as error:
            print(error, flush=True)
print("let go", flush=True)
"""


TRY = """
import sys, warnings
warnings.simplefilter("ignore")
from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.locks import HostLock
url, host, folder, timeout_s = sys.argv[1:]
lock = HostLock(
    url, host, folder=folder, timeout_s=float(timeout_s), on_wait=lambda _: 0
)
try:
    with lock():
        pass
except errors.Unavailable as error:
    print(error)
"""


class Holder:
    """Another process, which holds the lock until it is told to end.

    :param waited: what it was told when the lock was not free.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.waited = ""

    def hold(self) -> None:
        """Returns when it has the lock."""
        line = self.says()
        while line.startswith("waiting"):
            self.waited = line
            line = self.says()
        assert line == "held", line

    def says(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def required(self) -> str:
        """What it finds before its next act."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.says()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@contextlib.contextmanager
def holding(url: str, folder: Path, *, waits: bool = True) -> Iterator[Holder]:
    """:param waits: whether it has the lock when this returns."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, url, HOST, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            holder = Holder(process)
            if waits:
                holder.hold()
            yield holder
        finally:
            process.kill()


def tried(url: str, folder: Path, timeout_s: float) -> str:
    """Empty, where the lock was free in time; else why not.

    Of another process, since not every client closes what it opened.
    """
    done = subprocess.run(
        [sys.executable, "-c", TRY, url, HOST, str(folder), str(timeout_s)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.strip()

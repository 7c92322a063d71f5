"""Several clients at once, each a process, on one server.

Run as a program it is one of them: for each line that it reads it makes
so many claims, says how often it had to begin one again, and frees them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CHECKOUT = Path(__file__).parents[1]


class Rush(NamedTuple):
    """What a crowd did.

    :param claims: each second.
    :param retries: of each claim.
    """

    claims: float
    retries: float


class Crowd:
    """Clients that wait for their cue."""

    def __init__(self, members: list[subprocess.Popen[str]]) -> None:
        self._members = members

    def rush(self, claims: int) -> Rush:
        """Have every member make so many claims, all at once."""
        began = time.perf_counter()
        for member in self._members:
            assert member.stdin is not None
            print(claims, file=member.stdin, flush=True)
        retries = sum(int(self._heard(member)) for member in self._members)
        elapsed_s = time.perf_counter() - began
        for member in self._members:
            assert self._heard(member) == "freed"
        count = claims * len(self._members)
        return Rush(count / elapsed_s, retries / count)

    def _heard(self, member: subprocess.Popen[str]) -> str:
        assert member.stdout is not None
        line = member.stdout.readline().strip()
        assert line, "a client died"
        return line


@contextlib.contextmanager
def crowd(side: str, url: str, size: int) -> Iterator[Crowd]:
    """So many clients of ``own`` or ``rival``, ready."""
    members = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, side, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(_CHECKOUT)},
        )
        for _ in range(size)
    ]
    found = Crowd(members)
    try:
        for member in members:
            assert found._heard(member) == "ready"
        yield found
    finally:
        for member in members:
            member.kill()
            member.communicate()


def _work(side: str, url: str) -> None:
    from benchmarks.own import Own

    if side == "own":
        own = Own(url)
        own.free(own.claim())
        print("ready", flush=True)
        for line in sys.stdin:
            before = own.repeats.count
            held = [own.claim() for _ in range(int(line))]
            print(own.repeats.count - before, flush=True)
            for one in held:
                own.free(one)
            print("freed", flush=True)
        return
    from benchmarks.rival import Placement

    rival = Placement(url, is_shared=True)
    rival.free(rival.claim())
    print("ready", flush=True)
    for line in sys.stdin:
        before = rival.retries
        names = [rival.claim() for _ in range(int(line))]
        print(rival.retries - before, flush=True)
        for name in names:
            rival.free(name)
        print("freed", flush=True)


if __name__ == "__main__":
    _work(*sys.argv[1:])

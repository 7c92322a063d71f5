"""Several clients at once, each a process, on one server.

Run as a program it is one of them: for each number that it reads it makes
so many claims, and says how often it had to begin one again; at the line
after that it frees them, so that nobody frees while others still claim.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

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
        self._tell(str(claims))
        retries = sum(int(self._heard(member)) for member in self._members)
        elapsed_s = time.perf_counter() - began
        self._tell("free")
        for member in self._members:
            assert self._heard(member) == "freed"
        count = claims * len(self._members)
        return Rush(count / elapsed_s, retries / count)

    def _tell(self, line: str) -> None:
        for member in self._members:
            assert member.stdin is not None
            print(line, file=member.stdin, flush=True)

    def _heard(self, member: subprocess.Popen[str]) -> str:
        assert member.stdout is not None
        line = member.stdout.readline().strip()
        assert line, "a client died"
        return line


@contextlib.contextmanager
def crowd(side: str, urls: Sequence[str]) -> Iterator[Crowd]:
    """Clients of ``own`` or ``rival``, ready, each of its URL's ledger."""
    members = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, side, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(_CHECKOUT)},
        )
        for url in urls
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
    if side == "own":
        from benchmarks.own import Own

        own = Own(url)
        _serve(own.claim, own.free, lambda: own.repeats.count)
        return
    from benchmarks.rival import Placement

    rival = Placement(url, is_shared=True)
    _serve(rival.claim, rival.free, lambda: rival.retries)


def _serve(
    claim: Callable[[], T],
    free: Callable[[T], None],
    retries: Callable[[], int],
) -> None:
    free(claim())
    print("ready", flush=True)
    for line in sys.stdin:
        before = retries()
        held = [claim() for _ in range(int(line))]
        print(retries() - before, flush=True)
        sys.stdin.readline()
        for one in held:
            free(one)
        print("freed", flush=True)


if __name__ == "__main__":
    _work(*sys.argv[1:])

"""Starts and kills clients without importing everything for each.

Run as a program, with a campaign's settings as JSON, it takes a command a
line: "start CLIENT FROM", "kill CLIENT", "pause CLIENT", "resume CLIENT".
It says "ended CLIENT STATUS" of each, and they all end when it does.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.host.locks import HostLock
from tests.functional.faults import history
from tests.functional.faults.client import Client, Lost
from tests.functional.faults.history import Act, Operation, Outcome
from tests.functional.placement.server import settings_of

# Source: prctl(2).
_PR_SET_PDEATHSIG = 1
_SIGNALS = {
    "kill": signal.SIGKILL,
    "pause": signal.SIGSTOP,
    "resume": signal.SIGCONT,
}
_LOOK_S = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What every client of a campaign is told.

    :param url: the ledger's; see ``ledger``.
    :param folder: where the histories are written.
    :param steps: how many operations each client does.
    :param lock_urls: where every other client takes the host's lock.
    """

    url: str
    folder: str
    seed: str
    steps: int
    lock_urls: tuple[str, ...] = ()
    lock_timeout_s: float = 1.0


def ledger(url: str) -> LedgerDriver:
    """The ledger of a URL: a database's, or Placement's."""
    if url.startswith("http:"):
        # One that waits until Placement is there again.
        return PlacementLedger(settings_of(url, connect_retries=40))
    return SqlLedger(LedgerSettings(url))


def told(folder: Path, client: int | None = None) -> Iterator[Operation]:
    """What one client wrote down, or all of them."""
    pattern = f"{'*' if client is None else client}.*.jsonl"
    for path in sorted(folder.glob(pattern)):
        with path.open(encoding="utf-8") as lines:
            yield from history.operations(lines)


def locks(folder: Path) -> dict[str, int]:
    """How many operations had the host's lock, and how many went without.

    Of those of clients that take one.
    """
    counts: collections.Counter[str] = collections.Counter()
    for path in folder.glob("*.locks"):
        counts.update(path.read_text(encoding="utf-8").splitlines())
    return dict(sorted(counts.items()))


def next_step(folder: Path, client: int) -> int:
    """The first operation that a client has not begun."""
    begun = (int(o.name.split(".")[1]) for o in told(folder, client))
    return max(begun, default=-1) + 1


def _serve(settings: Settings) -> None:
    children: dict[int, int] = {}
    while True:
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            (ended,) = (c for c, p in children.items() if p == pid)
            del children[ended]
            code = os.waitstatus_to_exitcode(status)
            print("ended", ended, code, flush=True)
        if not select.select([sys.stdin], [], [], _LOOK_S)[0]:
            continue
        line = os.read(0, 1 << 16)
        if not line:
            return
        for command in line.decode().splitlines():
            word, client, *rest = command.split()
            if word == "start":
                children[int(client)] = _started(
                    settings, int(client), int(rest[0])
                )
            elif int(client) in children:
                os.kill(children[int(client)], _SIGNALS[word])


def _started(settings: Settings, client: int, first: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(0)
        _work(settings, client, first)
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _work(settings: Settings, client: int, first: int) -> None:
    folder = Path(settings.folder)
    lost = [
        Lost(str(o.consumer), o.request)
        for o in told(folder, client)
        if o.act is Act.CLAIM and o.outcome is Outcome.UNKNOWN
    ]
    lives = len(list(folder.glob(f"{client}.*.jsonl")))
    file = os.open(
        folder / f"{client}.{lives}.jsonl",
        os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    )
    here = Client(
        ledger(settings.url),
        settings.seed,
        client,
        lambda line: _write(file, line),
        _Lock(settings, client) if settings.lock_urls else _no_lock,
        lost[-1:],
    )
    if first:
        here.adopt(first)
    for number in range(first, settings.steps):
        here.step(number)


def _write(file: int, line: str) -> None:
    os.write(file, f"{line}\n".encode())


def _no_lock(_: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


class _Lock:
    """The host's lock; who cannot have it goes on without.

    Every other client takes none at all: it is to cost time only.
    """

    def __init__(self, settings: Settings, client: int) -> None:
        urls = settings.lock_urls
        self._url = None if client % 2 else urls[client // 2 % len(urls)]
        self._folder = settings.folder
        self._timeout_s = settings.lock_timeout_s
        self._counts = Path(settings.folder) / f"{client}.locks"

    @contextlib.contextmanager
    def __call__(self, host: str) -> Iterator[None]:
        if self._url is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(
                    HostLock(
                        self._url,
                        host,
                        folder=self._folder,
                        timeout_s=self._timeout_s,
                        on_wait=lambda line: None,
                    )()
                )
                self._count("had")
            except errors.Unavailable:
                self._count("gone without")
            yield

    def _count(self, word: str) -> None:
        with self._counts.open("a", encoding="utf-8") as file:
            print(word, file=file)


if __name__ == "__main__":
    _values = json.loads(sys.argv[1])
    _values["lock_urls"] = tuple(_values["lock_urls"])
    _serve(Settings(**_values))

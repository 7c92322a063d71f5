"""A campaign: many clients on one ledger, while things are made to fail."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.functional.faults import nursery
from tests.functional.faults.history import Outcome
from tests.functional.faults.nursery import Settings
from tests.functional.lab.leash import DYING_WITH_US

CLIENTS = 16
_CHECKOUT = Path(__file__).parents[3]
_LOOK_S = 0.01

Fault = Callable[[random.Random, "Clients"], None]
"""Makes something fail, and has it mended when it returns."""


class Clients:
    """The campaign's processes while it is entered."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(settings.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self.working: set[int] = set()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        told = json.dumps(dataclasses.asdict(self._settings))
        self._process = subprocess.Popen(
            [
                *DYING_WITH_US,
                *(sys.executable, "-m", nursery.__name__, told),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(_CHECKOUT)},
        )
        for client in range(CLIENTS):
            self._start(client, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What it started dies with it.
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def tell(self, word: str, client: int, *rest: int) -> None:
        """Have the nursery do something to a client."""
        assert self._process is not None
        assert self._process.stdin is not None
        line = " ".join(map(str, (word, client, *rest)))
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait(self, wait_s: float) -> None:
        """Look after the clients for so long, or until all are done."""
        assert self._process is not None
        assert self._process.stdout is not None
        until = time.monotonic() + wait_s
        while self.working and time.monotonic() < until:
            if not select.select([self._process.stdout], [], [], _LOOK_S)[0]:
                continue
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            assert chunk, "the nursery died"
            *lines, self._said = (self._said + chunk).split(b"\n")
            for line in lines:
                _, client, status = line.split()
                self._ended(int(client), int(status))

    def _start(self, client: int, first: int) -> None:
        self.working.add(client)
        self.tell("start", client, first)

    def _ended(self, client: int, status: int) -> None:
        """Start anew who was killed, where it had come to."""
        self.working.discard(client)
        if status == 0:
            return
        if status > 0:
            self.failures.append(f"client {client} ended with {status}")
            return
        self._start(client, nursery.next_step(self._folder, client))


def kill_client(chance: random.Random, clients: Clients) -> None:
    """Kill one with -9; another takes its place."""
    clients.tell("kill", _one(chance, clients))


def pause_client(chance: random.Random, clients: Clients) -> None:
    """Stop one for a while, wherever it is, what it locked included."""
    client = _one(chance, clients)
    clients.tell("pause", client)
    clients.wait(chance.uniform(0.05, 0.5))
    clients.tell("resume", client)


def _one(chance: random.Random, clients: Clients) -> int:
    return chance.choice(sorted(clients.working) or [0])


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """What was asked and what failed."""

    outcomes: Mapping[str, int]
    faults: Mapping[str, int]
    locks: Mapping[str, int]
    elapsed_s: float

    @property
    def answered(self) -> float:
        """The share of operations after which a client knew more."""
        unknown = sum(
            n for what, n in self.outcomes.items()
            if what.endswith(Outcome.UNKNOWN)
        )  # fmt: skip
        return 1 - unknown / max(1, sum(self.outcomes.values()))

    def __str__(self) -> str:
        asked = ", ".join(f"{n} {what}" for what, n in self.outcomes.items())
        failed = ", ".join(f"{n} × {what}" for what, n in self.faults.items())  # noqa: RUF001
        locked = ", ".join(f"{n} {what}" for what, n in self.locks.items())
        return (
            f"{sum(self.outcomes.values())} operations in"
            f" {self.elapsed_s:.0f} s ({asked}); faults: {failed}; locks:"
            f" {locked or 'none'}"
        )


def burn(
    settings: Settings,
    faults: Mapping[str, Fault],
    *,
    every_s: float,
    most_s: float,
) -> Totals:
    """Run a campaign until every client has done its part.

    Every kind of fault comes up once before any comes up again, in an
    order and at times that the seed draws.

    :param every_s: how long it is from fault to fault, on average.
    :param most_s: how long it may take.
    """
    chance = random.Random(f"{settings.seed}.faults")  # noqa: S311
    counts = dict.fromkeys(faults, 0)
    began = time.monotonic()
    deck: list[str] = []
    with Clients(settings) as clients:
        while clients.working:
            assert time.monotonic() - began < most_s, "they take too long"
            clients.wait(chance.uniform(0, 2 * every_s))
            if not clients.working:
                break
            deck = deck or chance.sample(sorted(faults), len(faults))
            kind = deck.pop()
            begun_ns = time.monotonic_ns()
            faults[kind](chance, clients)
            _note(settings, kind, begun_ns)
            counts[kind] += 1
        assert clients.failures == []
    outcomes = collections.Counter(
        f"{o.act}s {o.outcome}" for o in nursery.told(Path(settings.folder))
    )
    return Totals(
        dict(sorted(outcomes.items())),
        counts,
        nursery.locks(Path(settings.folder)),
        time.monotonic() - began,
    )


def _note(settings: Settings, kind: str, begun_ns: int) -> None:
    """Write down when something failed, for whoever reads histories."""
    with (Path(settings.folder) / "faults").open("a") as file:
        print(begun_ns, time.monotonic_ns(), kind, file=file)

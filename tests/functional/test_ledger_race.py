"""Processes that race for the same units, and some that die at it.

Run as a program, this is one racer: it claims for each consumer that it
reads a line of, and writes what came of it.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.unit.allocation.build import request, unit

RACERS = 8
ROUNDS = 50
# Of a first claim: three that read which cards there are; two that
# read, five that write, COMMIT.
STATEMENTS = 11
Racer = subprocess.Popen[str]


def race(url: str, text: str) -> None:
    """Be a racer.

    A line is a consumer's UUID; "forever", to claim and free for one
    after another; or "die N", to be killed at a claim's statement N.
    """
    ledger = SqlLedger(LedgerSettings(url))
    ledger.records()
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "forever":
            hold_and_free(ledger, text)
        if word == "die":
            word = str(uuid.uuid4())
            die_at(ledger, int(rest))
        try:
            held = ledger.claim(request(text), word)
        except errors.Refused as error:
            print(type(error).__name__, flush=True)
        else:
            print(held.consumer, flush=True)


def die_at(ledger: SqlLedger, statement: int) -> None:
    """Kill this process when a claim comes to its so manieth statement."""
    left = itertools.count(statement, -1)

    def die(*_: object) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    engine = ledger.database.engine
    sa.event.listen(engine, "before_cursor_execute", die)
    # The last of them is COMMIT.
    sa.event.listen(engine, "commit", die)


def hold_and_free(ledger: SqlLedger, text: str) -> None:
    """Claim and free until killed."""
    while True:
        try:
            held = ledger.claim(request(text), str(uuid.uuid4()))
        except errors.Refused:
            continue
        for record in held.units:
            ledger.move(record, State.FREE)


@contextmanager
def racers(url: str, text: str, count: int) -> Iterator[list[Racer]]:
    """Processes that are ready to race."""
    root = str(Path(__file__).parents[2])
    started = [
        subprocess.Popen(
            [sys.executable, __file__, url, text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
        )
        for _ in range(count)
    ]
    try:
        assert [answer_of(racer) for racer in started] == ["ready"] * count
        yield started
    finally:
        for racer in started:
            racer.kill()
            racer.communicate()


def tell(racer: Racer, line: str) -> None:
    assert racer.stdin is not None
    print(line, file=racer.stdin, flush=True)


def answer_of(racer: Racer) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


def new_ledger(folder: Path, count: int) -> tuple[SqlLedger, str]:
    """A ledger with so many free units, and its URL."""
    url = f"sqlite:///{folder}/ledger.sqlite"
    ledger = SqlLedger(LedgerSettings(url))
    ledger.sync()
    ledger.publish("h", [unit(bus) for bus in range(1, count + 1)])
    return ledger, url


def free_all(ledger: SqlLedger) -> None:
    for held in ledger.allocations():
        for record in held.units:
            ledger.move(record, State.FREE)


def test_the_last_unit_has_one_winner_each_time(tmp_path: Path) -> None:
    ledger, url = new_ledger(tmp_path, 1)
    with racers(url, "gpu:1", RACERS) as clients:
        for _ in range(ROUNDS):
            names = [str(uuid.uuid4()) for _ in clients]
            for racer, name in zip(clients, names, strict=True):
                tell(racer, name)
            answers = [answer_of(racer) for racer in clients]
            (held,) = ledger.allocations()
            assert held.consumer in names
            others = ["NoValidHost"] * (RACERS - 1)
            assert sorted(answers) == sorted([held.consumer, *others])
            free_all(ledger)


def test_two_of_three_are_never_one(tmp_path: Path) -> None:
    ledger, url = new_ledger(tmp_path, 3)
    with racers(url, "gpu:2", RACERS) as clients:
        for _ in range(ROUNDS):
            for racer in clients:
                tell(racer, str(uuid.uuid4()))
            answers = [answer_of(racer) for racer in clients]
            assert answers.count("NoValidHost") == RACERS - 1
            assert [len(held.units) for held in ledger.allocations()] == [2]
            free_all(ledger)


def test_one_consumer_that_claims_many_times_at_once(tmp_path: Path) -> None:
    ledger, url = new_ledger(tmp_path, 5)
    with racers(url, "gpu:2", RACERS) as clients:
        for _ in range(ROUNDS // 5):
            name = str(uuid.uuid4())
            for racer in clients:
                tell(racer, name)
            assert [answer_of(racer) for racer in clients] == [name] * RACERS
            assert len(ledger.allocation(name).units) == 2
            free_all(ledger)


def test_killed_at_any_instant_none_leaves_half_a_claim(
    tmp_path: Path,
) -> None:
    ledger, url = new_ledger(tmp_path, 6)
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(5):
        with racers(url, "gpu:3", 4) as clients:
            for racer in clients:
                tell(racer, "forever")
            time.sleep(chance.uniform(0.05, 0.4))
            for racer in clients:
                racer.kill()
                racer.wait()
        # What is held is held whole, unless it was on its way to free.
        records = ledger.records()
        holds = ledger.allocations()
        owned = [record for held in holds for record in held.units]
        assert len(holds) <= 4
        assert sorted(
            (r for r in records if r.state is State.CLAIMED),
            key=lambda r: r.unit.key,
        ) == sorted(owned, key=lambda r: r.unit.key)
        assert all(1 <= len(held.units) <= 3 for held in holds)
        free_all(ledger)
        assert {r.state for r in ledger.records()} == {State.FREE}
        # Nothing dead is in the way of the living.
        name = str(uuid.uuid4())
        assert len(ledger.claim(request("gpu:6"), name).units) == 6
        free_all(ledger)


def test_killed_at_each_statement_of_a_claim(tmp_path: Path) -> None:
    ledger, url = new_ledger(tmp_path, 6)
    before = ledger.records()
    for statement in range(STATEMENTS):
        with racers(url, "gpu:3", 1) as (racer,):
            tell(racer, f"die {statement}")
            assert (answer_of(racer), racer.wait()) == ("", -signal.SIGKILL)
        assert ledger.allocations() == ()
        assert ledger.records() == before
    # One further, and it lives: every statement was a place to die at.
    with racers(url, "gpu:3", 1) as (racer,):
        tell(racer, f"die {STATEMENTS}")
        name = answer_of(racer)
        assert len(ledger.allocation(name).units) == 3


if __name__ == "__main__":
    race(*sys.argv[1:])

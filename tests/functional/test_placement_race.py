"""Processes that race for the same units in Placement.

Run as a program, this file is one racer: for each line of its input it claims
for a consumer, and writes the result; with "freed" it then frees the units.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.functional.placement.server import (
    PlacementServer,
    settings_of,
)
from tests.functional.servers.databases import MariaDB
from tests.unit.allocation.build import request as parsed
from tests.unit.allocation.build import unit

pytest_plugins = ("tests.functional.placement.fixtures",)


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def placement_server(
    request: pytest.FixtureRequest,
) -> Iterator[PlacementServer]:
    """Placement on SQLite, and on MariaDB with its default isolation.

    With the latter, Placement gives a unit to two consumers now and then.
    """
    with contextlib.ExitStack() as stack:
        connection = ""
        if request.param == "mariadb":
            connection = stack.enter_context(MariaDB()).new_database()
        yield stack.enter_context(PlacementServer(connection, threads=8))


RACERS = 8
ROUNDS = 4
ATTEMPTS = 5
T = TypeVar("T")
Racer = subprocess.Popen[str]


def race(url: str) -> None:
    """Race until the input ends."""
    ledger = PlacementLedger(settings_of(url))
    ledger.version()
    print("ready", flush=True)
    for line in sys.stdin:
        name, text, ends = line.split()
        try:
            held = answered(partial(ledger.claim, parsed(text), name))
            if ends == "freed":
                for record in held.units:
                    answered(partial(free, ledger, record.unit.key, name))
        except errors.Error as error:
            print(type(error).__name__, flush=True)
        else:
            print(held.consumer, flush=True)
    ledger.close()


def answered(operation: Callable[[], T]) -> T:
    """Return what an operation returns; repeat it where no answer came.

    One writer after another has SQLite's lock, in no order: after five seconds
    without it Placement answers with status 500, and a slow machine may do so
    for as long as a ledger repeats a request.
    """
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(errors.Unavailable):
            return operation()
    return operation()


def free(ledger: PlacementLedger, key: UnitKey, consumer: str) -> None:
    """Free a unit, unless an earlier attempt did."""
    record = ledger.unit(key)
    if record.consumer == consumer:
        ledger.move(record, State.FREE)


@contextlib.contextmanager
def racers(url: str, count: int) -> Iterator[list[Racer]]:
    """Start processes that are ready to race."""
    root = str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": root},
        )
        for _ in range(count)
    ]
    try:
        lines = [read_line(racer) for racer in processes]
        assert lines == ["ready"] * count
        yield processes
    finally:
        for racer in processes:
            racer.kill()
            racer.communicate()


def tell(racer: Racer, *words: str) -> None:
    assert racer.stdin is not None
    print(*words, file=racer.stdin, flush=True)


def read_line(racer: Racer) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


def free_all(ledger: PlacementLedger) -> None:
    for held in ledger.allocations():
        for record in held.units:
            ledger.move(record, State.FREE)


def test_the_last_units_have_one_owner_each(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    placement_ledger.publish("h", [unit(bus) for bus in (1, 2, 3)])
    with racers(placement_url, RACERS) as processes:
        for _ in range(ROUNDS):
            names = [str(uuid.uuid4()) for _ in processes]
            for racer, name in zip(processes, names, strict=True):
                tell(racer, name, "gpu:2", "kept")
            results = [read_line(racer) for racer in processes]
            # One consumer has two units; the third unit is free.
            (held,) = placement_ledger.allocations()
            assert [len(held.units), held.consumer in names] == [2, True]
            others = ["NoValidHost"] * (RACERS - 1)
            assert sorted(results) == sorted([held.consumer, *others])
            free_all(placement_ledger)


def test_parallel_claims_for_one_consumer(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    placement_ledger.publish("h", [unit(bus) for bus in (1, 2, 3, 4, 5)])
    with racers(placement_url, RACERS) as processes:
        for _ in range(ROUNDS):
            name = str(uuid.uuid4())
            for racer in processes:
                tell(racer, name, "gpu:2", "kept")
            assert [read_line(racer) for racer in processes] == [name] * RACERS
            assert len(placement_ledger.allocation(name).units) == 2
            free_all(placement_ledger)


def test_claims_and_releases_leave_nothing(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    hosts = ("a", "b")
    for host in hosts:
        units = [unit(bus, host=host) for bus in (1, 2, 3, 4)]
        placement_ledger.publish(host, units)
    with racers(placement_url, RACERS) as processes:
        for _ in range(ROUNDS):
            for racer in processes:
                tell(racer, str(uuid.uuid4()), "gpu:2", "freed")
        results = [
            read_line(racer) for racer in processes for _ in range(ROUNDS)
        ]
    names = [word for word in results if len(word) == 36]
    assert len(names) >= ROUNDS
    assert set(results) - set(names) <= {"NoValidHost", "Conflict"}
    assert {r.state for r in placement_ledger.records()} == {State.FREE}
    assert placement_ledger.allocations() == ()
    for name in names:
        body = placement_ledger.service.get(f"/allocations/{name}")
        assert body["allocations"] == {}


if __name__ == "__main__":
    race(sys.argv[1])

"""Processes that race for the same units in Placement.

Run as a program, this is one racer: it claims for each consumer that it
reads a line of, and writes what came of it; "free" frees what it holds.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.placement.server import (
    PlacementServer,
    settings_of,
)
from tests.functional.servers.databases import MariaDB
from tests.unit.allocation.build import request as asked
from tests.unit.allocation.build import unit

pytest_plugins = ("tests.functional.placement.fixtures",)


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def placement_server(
    request: pytest.FixtureRequest,
) -> Iterator[PlacementServer]:
    """One that answers one at a time, and one that does not.

    MariaDB reads repeatably, and Placement then gives a unit to two.
    """
    with contextlib.ExitStack() as stack:
        connection = ""
        if request.param == "mariadb":
            connection = stack.enter_context(MariaDB()).new_database()
        yield stack.enter_context(PlacementServer(connection, threads=8))


RACERS = 8
ROUNDS = 4
Racer = subprocess.Popen[str]


def race(url: str) -> None:
    """Be a racer."""
    ledger = PlacementLedger(settings_of(url))
    ledger.version()
    print("ready", flush=True)
    for line in sys.stdin:
        name, text, ends = line.split()
        try:
            held = ledger.claim(asked(text), name)
            if ends == "freed":
                for record in held.units:
                    ledger.move(record, State.FREE)
        except errors.Error as error:
            print(type(error).__name__, flush=True)
        else:
            print(held.consumer, flush=True)
    ledger.close()


@contextlib.contextmanager
def racers(url: str, count: int) -> Iterator[list[Racer]]:
    """Processes that are ready to race."""
    root = str(Path(__file__).parents[2])
    found = [
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
        assert [heard(racer) for racer in found] == ["ready"] * count
        yield found
    finally:
        for racer in found:
            racer.kill()
            racer.communicate()


def tell(racer: Racer, *words: str) -> None:
    assert racer.stdin is not None
    print(*words, file=racer.stdin, flush=True)


def heard(racer: Racer) -> str:
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
    with racers(placement_url, RACERS) as found:
        for _ in range(ROUNDS):
            names = [str(uuid.uuid4()) for _ in found]
            for racer, name in zip(found, names, strict=True):
                tell(racer, name, "gpu:2", "kept")
            said = [heard(racer) for racer in found]
            # None of them got one unit, and the third is free.
            (held,) = placement_ledger.allocations()
            assert [len(held.units), held.consumer in names] == [2, True]
            others = ["NoValidHost"] * (RACERS - 1)
            assert sorted(said) == sorted([held.consumer, *others])
            free_all(placement_ledger)


def test_one_consumer_that_claims_many_times_at_once(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    placement_ledger.publish("h", [unit(bus) for bus in (1, 2, 3, 4, 5)])
    with racers(placement_url, RACERS) as found:
        for _ in range(ROUNDS):
            name = str(uuid.uuid4())
            for racer in found:
                tell(racer, name, "gpu:2", "kept")
            assert [heard(racer) for racer in found] == [name] * RACERS
            assert len(placement_ledger.allocation(name).units) == 2
            free_all(placement_ledger)


def test_all_come_and_go_and_leave_nothing(
    placement_ledger: PlacementLedger, placement_url: str
) -> None:
    hosts = ("a", "b")
    for host in hosts:
        units = [unit(bus, host=host) for bus in (1, 2, 3, 4)]
        placement_ledger.publish(host, units)
    with racers(placement_url, RACERS) as found:
        for _ in range(ROUNDS):
            for racer in found:
                tell(racer, str(uuid.uuid4()), "gpu:2", "freed")
        said = [heard(racer) for racer in found for _ in range(ROUNDS)]
    names = [word for word in said if len(word) == 36]
    assert len(names) >= ROUNDS
    assert set(said) - set(names) <= {"NoValidHost", "Conflict"}
    assert {r.state for r in placement_ledger.records()} == {State.FREE}
    assert placement_ledger.allocations() == ()
    for name in names:
        found_of = placement_ledger.service.get(f"/allocations/{name}")
        assert found_of["allocations"] == {}


if __name__ == "__main__":
    race(sys.argv[1])

"""What agents of other hosts are asked for, in every database."""

from __future__ import annotations

import dataclasses
import time
import uuid

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.event import Actor
from gpu_passthrough_plugin.model.host_task import (
    KEPT_S,
    MAX_OPEN,
    OPEN,
    HostTask,
    TaskKind,
    TaskState,
)
from tests.functional.corrupt import corrupt
from tests.unit.allocation.build import unit

pytest_plugins = ("tests.functional.servers.fixtures",)

ANN = Actor("unit clear", "ctl", "ann", 1000)
NOW_US = time.time_ns() // 1000


def task(
    subject: str = "0000:01:00.0", host: str = "a", asked_us: int = NOW_US
) -> HostTask:
    return HostTask(
        uuid.uuid4().hex,
        host,
        TaskKind.CLEAR,
        subject,
        ANN,
        asked_us,
        asked_us + 60_000_000,
        asked_us,
    )


@pytest.fixture
def fleet(ledger: SqlLedger) -> SqlLedger:
    for host in "ab":
        ledger.publish(host, [unit(1, host=host)])
    return ledger


def test_it_is_read_as_it_was_asked_for(fleet: SqlLedger) -> None:
    first, second = task(), task("0000:02:00.0", asked_us=NOW_US - 1)
    for each in (first, second, task(host="b")):
        assert fleet.add_task(each) == each
    listing = fleet.tasks(host="a")
    assert listing == ((second, first), ())
    assert fleet.tasks(uuid=first.uuid).tasks == (first,)
    assert len(fleet.tasks().tasks) == 3
    assert fleet.tasks(host="x").tasks == ()


def test_the_same_is_asked_for_once_until_it_ended(fleet: SqlLedger) -> None:
    first = fleet.add_task(task())
    assert fleet.add_task(task()) == first
    running = fleet.change_task(first, TaskState.RUNNING)
    assert fleet.add_task(task()) == running
    fleet.change_task(running, TaskState.FAILED, "it burns")
    again = fleet.add_task(task())
    assert again.uuid != first.uuid
    assert fleet.tasks(states=OPEN).tasks == (again,)
    (failed,) = fleet.tasks(states=[TaskState.FAILED]).tasks
    assert failed.detail == "it burns"
    assert failed.changed_us != failed.asked_us


def test_who_is_late_changes_nothing(fleet: SqlLedger) -> None:
    asked = fleet.add_task(task())
    running = fleet.change_task(asked, TaskState.RUNNING)
    with pytest.raises(errors.Conflict, match="is running, expected waiting"):
        fleet.change_task(asked, TaskState.WITHDRAWN)
    # As after a COMMIT that was not answered.
    assert fleet.change_task(asked, TaskState.RUNNING).state is running.state
    with pytest.raises(errors.Conflict, match="is gone"):
        fleet.change_task(task(), TaskState.RUNNING)
    assert fleet.tasks().tasks == (running,)


def test_no_such_host(fleet: SqlLedger) -> None:
    with pytest.raises(errors.Refused, match="no host x"):
        fleet.add_task(task(host="x"))


def test_too_many(fleet: SqlLedger) -> None:
    for number in range(MAX_OPEN):
        fleet.add_task(task(str(uuid.UUID(int=number))))
    with pytest.raises(errors.Refused, match="whether it runs"):
        fleet.add_task(task())
    assert fleet.add_task(task(host="b"))


def test_what_ended_long_ago_is_removed(fleet: SqlLedger) -> None:
    ended = fleet.add_task(task())
    ended = fleet.change_task(ended, TaskState.DONE)
    waiting = fleet.add_task(task("0000:02:00.0"))
    later = ended.changed_us + KEPT_S * 1_000_000
    fleet.add_task(task("0000:03:00.0", asked_us=later - 1))
    assert len(fleet.tasks().tasks) == 3
    fleet.add_task(task("0000:04:00.0", asked_us=later + 1))
    assert waiting in fleet.tasks().tasks
    assert ended.uuid not in {each.uuid for each in fleet.tasks().tasks}


def test_a_long_detail_is_cut(fleet: SqlLedger) -> None:
    asked = fleet.add_task(task())
    failed = fleet.change_task(asked, TaskState.FAILED, "x" * 100_000)
    assert fleet.tasks().tasks == (failed,)
    assert len(failed.detail) == 1024


def test_a_malformed_row_costs_a_line(fleet: SqlLedger) -> None:
    good = fleet.add_task(task())
    bad = fleet.add_task(task("0000:02:00.0"))
    if fleet.database.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite's constraints can be switched off")
    corrupt(
        fleet.database,
        "UPDATE host_task SET kind = 'rm' WHERE subject LIKE '%:02:%'",
    )
    listing = fleet.tasks(host="a")
    assert listing.tasks == (good,)
    (line,) = listing.malformed
    assert bad.uuid in line and "'rm'" in line
    assert fleet.add_task(dataclasses.replace(good, uuid="0" * 32)) == good

"""Commands for what is on another host, and ``task list``."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.model.host_task import TaskState
from gpu_passthrough_plugin.model.unit import State, UnitKey
from tests.unit.allocation.build import request, unit

pytest_plugins = ("tests.functional.placement.fixtures",)

A = "aaaaaaaa-0000-4000-8000-000000000001"
ENDED = (State.PREPARING, State.RELEASING, State.QUARANTINED)
OTHERS = "g/0000:01:00.0"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/ledger.sqlite"))
    made.sync()
    for host in "gh":
        made.publish(host, [unit(1, host=host), unit(2, host=host)])
    yield made
    made.close()


class Cli:
    """The command on host ``h``."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._config = folder / "gpu-passthrough.conf"
        self._config.write_text(
            f"[DEFAULT]\nhost = h\nstate_path = {folder}\n"
        )
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        status = main.main(["--config-file", str(self._config), *words])
        return (status, *self._capsys.readouterr())


@pytest.fixture
def cli(
    tmp_path: Path, ledger: SqlLedger, capsys: pytest.CaptureFixture[str]
) -> Cli:
    return Cli(tmp_path, capsys)


def quarantined(ledger: SqlLedger) -> UnitKey:
    (record, _) = ledger.records(host="g")
    ledger.move(record, State.QUARANTINED, reason="fan is loud")
    return record.unit.key


class Agent(threading.Thread):
    """What the agent of ``g`` does: it takes a task, and ends it.

    :param refusal: why it does not do it.
    """

    def __init__(self, folder: Path, refusal: str = "") -> None:
        super().__init__()
        url = f"sqlite:///{folder}/ledger.sqlite"
        self._ledger = SqlLedger(LedgerSettings(url))
        self._refusal = refusal

    def run(self) -> None:
        end = time.monotonic() + 30
        while not (tasks := self._ledger.tasks(host="g").tasks):
            assert time.monotonic() < end
            time.sleep(0.05)
        task = self._ledger.change_task(tasks[0], TaskState.RUNNING)
        state = TaskState.FAILED if self._refusal else TaskState.DONE
        if not self._refusal:
            for record in self._ledger.records(host="g"):
                if record.state is State.QUARANTINED:
                    self._ledger.move(record, State.FREE)
                elif record.state is State.CLAIMED:
                    for ended in ENDED:
                        record = self._ledger.move(record, ended, reason="hot")
        self._ledger.change_task(task, state, self._refusal)
        self._ledger.close()


def test_a_unit_elsewhere_is_cleared(
    cli: Cli, ledger: SqlLedger, tmp_path: Path
) -> None:
    quarantined(ledger)
    agent = Agent(tmp_path)
    agent.start()
    status, out, err = cli("unit", "clear", OTHERS, "-f", "json")
    agent.join()
    assert (status, json.loads(out)["State"]) == (0, "free")
    assert "asked the agent of g for it; waiting 180 s" in err


def test_why_it_was_not(cli: Cli, ledger: SqlLedger, tmp_path: Path) -> None:
    quarantined(ledger)
    agent = Agent(tmp_path, "the unit is not clean")
    agent.start()
    status, out, err = cli("unit", "clear", OTHERS)
    agent.join()
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].endswith("host g: the unit is not clean")
    status, out, _ = cli("task", "list", "-f", "json")
    (task,) = json.loads(out)
    assert task["Command"] == "unit clear"
    assert (task["Host"], task["Subject"]) == ("g", "0000:01:00.0")
    assert (task["State"], task["From"]) == ("failed", "h")
    assert task["Detail"] == "the unit is not clean"


def test_an_instance_elsewhere_is_released(
    cli: Cli, ledger: SqlLedger, tmp_path: Path
) -> None:
    """Its unit is not clean, which is the exit status as on its own host."""
    ledger.claim(request("gpu:1"), A, host="g")
    agent = Agent(tmp_path)
    agent.start()
    status, out, _ = cli(
        "instance", "release", A, "-f", "json", "--wait", "20"
    )
    agent.join()
    assert status == 1
    row = json.loads(out)
    assert (row["Instance"], row["Host"]) == (A, "g")
    assert row["State"] == "quarantined"


def test_nobody_takes_it(cli: Cli, ledger: SqlLedger) -> None:
    key = quarantined(ledger)
    status, out, err = cli("unit", "clear", OTHERS, "--wait", "0")
    assert (status, out) == (2, "")
    assert "did not take it within 0 s, and nothing was done" in err
    assert ledger.unit(key).state is State.QUARANTINED
    _, out, _ = cli("task", "list", "-f", "value", "-c", "State")
    assert out == "withdrawn\n"
    _, out, err = cli("task", "list", "--open", "-f", "json")
    assert (json.loads(out), err.count("\n")) == ([], 1)
    _, out, _ = cli("task", "list", "--host", "h", "-f", "json")
    assert json.loads(out) == []


@pytest.mark.parametrize(
    ("cordon", "words"),
    [
        ("lost: its agent", "inventory fence g"),
        ("fenced: by ann", "which does not answer"),
    ],
)
def test_nobody_is_there(
    cli: Cli, ledger: SqlLedger, cordon: str, words: str
) -> None:
    quarantined(ledger)
    ledger.cordon("g", cordon)
    status, _, err = cli("unit", "clear", OTHERS)
    assert (status, err.count("\n")) == (1, 1)
    assert words in err
    assert ledger.tasks().tasks == ()


def test_no_such_host(cli: Cli) -> None:
    status, _, err = cli("unit", "clear", "x/01:00.0")
    assert (status, err.count("\n")) == (1, 1)
    assert "no host x" in err


def test_a_recorded_host_asks_nobody(cli: Cli, ledger: SqlLedger) -> None:
    quarantined(ledger)
    status, _, err = cli("--root", "/nowhere", "unit", "clear", OTHERS)
    assert (status, err.count("\n")) == (2, 1)
    assert "read-only" in err
    assert ledger.tasks().tasks == ()


def test_placement_passes_nothing_on(
    placement_ledger: PlacementLedger,
) -> None:
    assert not placement_ledger.keeps_tasks
    assert placement_ledger.tasks(host="g").tasks == ()

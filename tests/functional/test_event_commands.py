"""``event list`` and ``unit history``: what happened, when, and by whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.cli import main
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model.unit import State
from tests.functional.corrupt import corrupt
from tests.unit.allocation.build import unit

A = "aaaaaaaa-0000-4000-8000-000000000001"
COLUMNS = [
    "Time",
    "Unit",
    "From",
    "To",
    "Consumer",
    "Name",
    "Reason",
    "Command",
    "Host",
    "User",
]
FIRST, SECOND = "h/0000:01:00.0", "h/0000:02:00.0"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path) -> SqlLedger:
    made = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/ledger.sqlite"))
    made.sync()
    made.publish("h", [unit(1), unit(2)])
    made.publish("g", [unit(1, host="g")])
    made.close()
    return made


@pytest.fixture
def cli(
    tmp_path: Path, ledger: SqlLedger, capsys: pytest.CaptureFixture[str]
) -> Cli:
    config = tmp_path / "gpu-passthrough.conf"
    config.write_text(
        f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}\n"
        "[allocation]\nevent_limit = 1000\n"
        '[pci]\nalias = {"name": "gpu", "vendor_id": "10de"}\n'
    )

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = main.main(["--config-file", str(config), *argv])
        except SystemExit as ended:
            # argparse's, for a wrong call.
            status = int(ended.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def listed(cli: Cli, *argv: str) -> list[dict[str, Any]]:
    status, out, err = cli(*argv, "-f", "json")
    assert status == 0, err
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


def claim(cli: Cli, consumer: str) -> None:
    status, _, err = cli(
        *("allocation", "create", "--request", "gpu:1", "--host", "h"),
        *("--consumer", consumer),
    )
    assert status == 0, err


def test_who_did_it(cli: Cli) -> None:
    claim(cli, A)
    events = listed(cli, "event", "list", "--consumer", A.upper())
    (event,) = events
    assert list(event) == COLUMNS
    assert (event["Unit"], event["From"], event["To"]) == (
        FIRST,
        "free",
        "claimed",
    )
    assert (event["Consumer"], event["Reason"]) == (A, "gpu:1")
    # As typed, without any value.
    assert (event["Command"], event["Host"]) == ("allocation create", "h")
    assert event["User"]
    assert timestamp.parse_since(event["Time"], 0) > 0


def test_the_history_of_a_unit(cli: Cli) -> None:
    """By any of its functions; a replaced reason stays in it."""
    for reason in ("loud fan", "reads ff"):
        cli("unit", "quarantine", "0000:01:00.0", "--reason", reason)
    history = listed(cli, "unit", "history", "0000:01:00.1")
    assert [(e["To"], e["Reason"]) for e in history] == [
        ("free", "published by its host"),
        ("quarantined", "loud fan"),
        ("quarantined", "reads ff"),
    ]
    assert {e["Unit"] for e in history} == {FIRST}
    assert listed(cli, "event", "list", "--unit", FIRST) == history
    (unit_now, *_) = listed(cli, "unit", "list")[1:]
    assert unit_now["Reason"] == "reads ff"


def test_a_unit_that_the_ledger_no_longer_has(
    cli: Cli, ledger: SqlLedger
) -> None:
    ledger.publish("h", [unit(2)])
    history = listed(cli, "unit", "history", FIRST)
    assert [e["To"] for e in history] == ["free", "absent"]


def test_which_events(cli: Cli) -> None:
    claim(cli, A)
    cli("inventory", "cordon", "g", "--reason", "roof")
    everything = listed(cli, "event", "list")
    assert [e["Unit"] for e in everything] == [
        FIRST,
        SECOND,
        "g/0000:01:00.0",
        FIRST,
        "g",
    ]
    times = [e["Time"] for e in everything]
    for options, expected in (
        (("--host", "g"), [everything[2], everything[4]]),
        (("--unit", "0000:02:00.0"), everything[1:2]),
        (("--unit", "0000:01:00.0", "--host", "g"), everything[2:3]),
        (("--since", "1h"), everything),
        (("--since", times[0]), everything),
        (("--since", "2999-01-01"), []),
        (("--limit", "2"), everything[3:]),
        (("--limit", "0"), everything),
        (("--consumer", "nobody"), []),
    ):
        assert listed(cli, "event", "list", *options) == expected, options
    _, _, err = cli("event", "list", "--limit", "2")
    assert "newest 2" in err
    _, out, err = cli("event", "list", "--consumer", "nobody", "-f", "value")
    assert (out, "no event matches" in err) == ("", True)


def test_json_lines(cli: Cli) -> None:
    """For programs that append: the same objects, one a line."""
    claim(cli, A)
    status, out, _ = cli("event", "list", "-f", "jsonl", "--limit", "0")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == listed(cli, "event", "list")
    _, out, _ = cli("event", "list", "-f", "jsonl", "-c", "To", "-c", "Unit")
    assert list(json.loads(out.splitlines()[0])) == ["Unit", "To"]


@pytest.mark.parametrize(
    ("argv", "data"),
    [
        (("event", "list", "--since", "yesterday"), ("--since", "2h")),
        (("event", "list", "--limit", "-1"), ("--limit", "-1")),
        (("event", "list", "--unit", "zz"), ("'zz'",)),
        (
            ("event", "list", "--unit", FIRST, "--host", "g"),
            ("--unit h/0000:01:00.0", "--host is g"),
        ),
        (("unit", "history", "zz"), ("'zz'",)),
        (("event", "list", "-c", "When"), ("'When'", "Time")),
    ],
)
def test_a_wrong_call(
    cli: Cli, argv: tuple[str, ...], data: tuple[str, ...]
) -> None:
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert all(datum in line for datum in data), line


def test_malformed_rows_cost_a_line_each(cli: Cli, ledger: SqlLedger) -> None:
    for _ in range(30):
        (record,) = ledger.records(host="g")
        ledger.move(record, State.QUARANTINED, reason="x")
    corrupt(ledger.database, "UPDATE event SET time_us = -1 WHERE id > 3")
    corrupt(
        ledger.database,
        "UPDATE event SET reason = :text WHERE id = 3",
        text="\x1b[2Jgone",
    )
    status, out, err = cli("event", "list", "-f", "json")
    assert status == 0
    assert [row["Unit"] for row in json.loads(out)] == [FIRST, SECOND]
    assert "\x1b" not in out + err
    assert "event 3: reason" in err
    assert "11 more" in err
    assert len(err.splitlines()) == 21


def test_events_below_another_root_are_not_written(
    cli: Cli, tmp_path: Path
) -> None:
    before = listed(cli, "event", "list")
    status, _, err = cli(
        *("--root", str(tmp_path), "unit", "quarantine", FIRST),
    )
    assert (status, "--root" in err) == (2, True)
    assert listed(cli, "event", "list") == before


def test_a_quarantine_shows_since_when_and_its_former_reasons(
    cli: Cli, ledger: SqlLedger
) -> None:
    record, _ = ledger.records(host="h")
    for reason in ("does not respond", "fan is loud", "sent to the vendor"):
        record = ledger.move(record, State.QUARANTINED, reason=reason)
    status, out, err = cli("unit", "show", FIRST, "-f", "json")
    assert status == 0, err
    shown = json.loads(out)
    events = listed(cli, "unit", "history", FIRST)
    first = next(e for e in events if e["Reason"] == "does not respond")
    assert shown["Since"] == first["Time"]
    assert shown["Reason"] == "sent to the vendor"
    assert shown["Former Reasons"] == ["does not respond", "fan is loud"]
    ledger.move(record, State.FREE)
    shown = json.loads(cli("unit", "show", FIRST, "-f", "json")[1])
    assert (shown["State"], shown["Former Reasons"]) == ("free", [])

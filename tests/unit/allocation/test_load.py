"""Drivers by entry point, from installed metadata as pip writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import stevedore.extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.load import load
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.unit import State
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import request, unit

A = "00000000-0000-4000-8000-00000000000a"

SETTINGS = LedgerSettings("sqlite:////nowhere/ledger.sqlite")
ENTRY_POINTS = """
[gpu_passthrough_plugin.allocation]
mine = gpu_passthrough_plugin.allocation.sql.ledger:SqlLedger
gone = no_such_module:Driver
worse = worse_module:Driver
wrong = pathlib:Path
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with a driver that works and two that do not."""
    folder = tmp_path / "third_party-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: third-party\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "worse_module.py").write_text("nonsense\n")
    monkeypatch.syspath_prepend(tmp_path)
    manager = stevedore.extension.ExtensionManager
    monkeypatch.setattr(manager, "ENTRY_POINT_CACHE", {})
    # It would keep what it found in the home folder.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_driver_by_name() -> None:
    assert isinstance(load("mine", SETTINGS), SqlLedger)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "'none' is not installed"),
        ("gone", "No module named 'no_such_module'"),
        ("worse", "name 'nonsense' is not defined"),
        ("wrong", "pathlib.Path"),
    ],
)
def test_a_driver_that_cannot_be_used(
    name: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        load(name, SETTINGS)
    text = str(caught.value)
    assert f"[allocation] driver {name!r}" in text
    assert reason in text
    assert "available: gone, mine" in text
    assert "\n" not in text
    assert caplog.records == []


def test_golden_messages() -> None:
    messages = {}
    for name in ("none", "gone", "worse", "wrong"):
        with pytest.raises(errors.Invalid) as caught:
            load(name, SETTINGS)
        # Without the drivers that are installed here.
        messages[name] = str(caught.value).partition("; available")[0]
    path = Path(__file__).with_name("load_messages.txt")
    assert_golden(path, sections(messages))


def test_settings_that_a_driver_rejects() -> None:
    with pytest.raises(errors.Invalid, match=r"\[database\] connection"):
        load("mine", LedgerSettings("nonsense"))


def test_what_changes_the_ledger_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gpu_passthrough_plugin.allocation.load")
    ledger = load("mine", LedgerSettings(f"sqlite:////{tmp_path}/l.sqlite"))
    ledger.sync()
    ledger.publish("h", [unit(1), unit(2)])
    held = ledger.claim(request("gpu:1"), A)
    ledger.records()
    (record,) = held.units
    free = ledger.move(record, State.FREE)
    ledger.move(free, State.QUARANTINED, reason="loud")
    ledger.cordon("h", "new roof")
    ledger.uncordon("h")
    ledger.close()
    key = str(record.unit.key)
    data = (
        ("schema",), ("2 added",), (A, key), (key, "free"),
        (key, "quarantined", "loud"),
        ("cordoned h", "new roof"), ("uncordoned h",),
    )  # fmt: skip
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "gpu_passthrough_plugin.allocation.load"
    ]
    for line, expected in zip(lines, data, strict=True):
        assert all(datum in line for datum in expected), line

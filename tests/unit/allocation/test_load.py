"""Drivers by entry point, from installed metadata as pip writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import stevedore.extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.load import load
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger

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
    ("name", "said"),
    [
        ("none", "driver 'none' is not installed; available: gone, mine"),
        ("gone", "driver 'gone' does not load (No module named"),
        ("worse", "driver 'worse' does not load (name 'nonsense' is not"),
        ("wrong", "driver 'wrong' is no ledger's driver but <class 'path"),
    ],
)
def test_what_is_no_driver_is_named(
    name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        load(name, SETTINGS)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caplog.records == []


def test_what_is_wrong_with_the_settings_is_said() -> None:
    with pytest.raises(errors.Invalid, match="no URL of a database"):
        load("mine", LedgerSettings("nonsense"))

"""Drivers of others that wipe units: found, run in a child, and bounded."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
import stevedore.extension

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import release
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.host import sanitise_driver
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseDriver,
    SanitiseSettings,
)
from gpu_passthrough_plugin.model.unit import State
from tests.functional.world import UUID, World, guest, wanted

SOURCE = Path(__file__).with_name("third_party") / "bleach.py"
NAMES = ("Bleach", "Late", "Wrong", "Refusing", "Dying", "RECORD")


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the third party's package; return where it notes its work."""
    site, path = tmp_path / "site", tmp_path / "record"
    info = site / "bleach-1.0.dist-info"
    info.mkdir(parents=True)
    text = SOURCE.read_text().replace("/run/bleach", str(path))
    (site / "bleach.py").write_text(text)
    (info / "METADATA").write_text("Name: bleach\nVersion: 1.0\n")
    points = "".join(f"{name.lower()} = bleach:{name}\n" for name in NAMES)
    (info / "entry_points.txt").write_text(
        f"[gpu_passthrough_plugin.sanitise]\n{points}gone = bleach:Gone\n"
    )
    monkeypatch.syspath_prepend(site)
    manager = stevedore.extension.ExtensionManager
    monkeypatch.setattr(manager, "ENTRY_POINT_CACHE", {})
    # stevedore would keep what it found in the home folder.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def loaded(name: str, folder: Path, timeout_s: float = 20) -> SanitiseDriver:
    settings = SanitiseSettings(timeout_s=timeout_s)
    driver = sanitise_driver.load(name, settings, str(folder / "calls"))
    assert driver is not None
    return driver


def released(world: World, name: str, timeout_s: float = 20) -> str:
    """Release a guest with this driver; return the last event's reason."""
    driver = loaded(name, world.folder, timeout_s)
    boot(world.context(), guest(), wanted())
    context = dataclasses.replace(world.context(), sanitiser=driver)
    (unit,) = release.release(context, UUID)
    query = EventQuery(address=str(unit.unit.key.address))
    events = world.ledger.events(query)
    return events.events[-1].transition.reason


def test_a_unit_is_wiped_by_a_third_partys_driver(
    world: World, record: Path
) -> None:
    reason = released(world, "bleach")
    assert "sanitised by bleach 1.0" in reason
    assert record.read_text() == "0000:06:00.0 0000:06:00.1"
    assert world.states() == ["free"] * 3
    # What it has open, and what it leaves in memory, ended with its child.
    assert os.listdir(world.folder / "calls") == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "bleach 1.0 failed: ValueError: 10de"),
        ("refusing", "unknown device"),
        ("dying", "bleach 1.0"),
    ],
)
def test_a_driver_that_fails_quarantines(
    world: World, name: str, reason: str
) -> None:
    told = released(world, name)
    assert reason in told and "\n" not in told
    assert world.states()[0] == State.QUARANTINED


def test_a_driver_that_does_not_end_is_killed(world: World) -> None:
    start = time.monotonic()
    assert "took longer than 1 s" in released(world, "late", 1)
    assert time.monotonic() - start < 20
    assert world.states() == ["quarantined", "free", "free"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "is not installed; available: bleach, command, dying"),
        ("gone", "does not load"),
        ("record", "is not a driver class"),
        ("command", "sanitise_command"),
    ],
)
def test_a_driver_that_cannot_be_used(
    name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.Invalid) as caught:
        loaded(name, tmp_path)
    assert reason in str(caught.value)


def test_which_driver_there_is_without_a_name(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert sanitise_driver.load("", SanitiseSettings(), folder) is None
    settings = SanitiseSettings(("/usr/bin/wipe", "-a"))
    driver = sanitise_driver.load("", settings, folder)
    assert driver is not None
    assert driver.title == "/usr/bin/wipe"
    assert not driver.runs_in_child

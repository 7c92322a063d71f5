"""Coverage of the pure rooms is printed, and does not fall."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.architecture import ratchets
from tests.architecture.planting import plant
from tests.architecture.reading import PACKAGE
from tests.architecture.room_coverage import (
    Room,
    fallen,
    raised,
    rooms,
    table,
)
from tests.architecture.rooms import PURE

MEASURED = {"model": Room(1000, 31), "nova": Room(100, 10)}


def test_every_pure_room_has_a_floor() -> None:
    assert sorted(ratchets.floors()) == sorted(PURE)


def test_a_room_that_fell_is_found() -> None:
    assert fallen(MEASURED, {"model": 96, "nova": 90}) == []
    assert fallen(MEASURED, {"model": 97, "nova": 90}) == ["model"]


def test_floors_rise_and_never_fall() -> None:
    floors = raised(MEASURED, {"model": 90, "nova": 95})
    assert floors == {"model": 96, "nova": 95}
    assert raised({"model": Room(10, 0)}, {}) == {"model": 98}


def test_the_table_tells_what_is_missing() -> None:
    shown = table(MEASURED, {"model": 97, "nova": 90}).splitlines()
    assert shown[1].split()[:4] == ["model", "1000", "31", "96.9"]
    assert shown[1].endswith("fell below its floor")
    assert shown[2].endswith("below the aim, 95 %")


def test_lines_that_were_not_run_are_counted(tmp_path: Path) -> None:
    """Of pure rooms alone, as coverage.py measures them."""
    source = "def f(a):\n    if a:\n        return 1\n    return 2\n\n\nf(1)\n"
    plant(tmp_path, {"model/x": source, "nova/y": source, "host/z": source})
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.coverage.run]\nsource = ["{PACKAGE}"]\n'
    )
    subprocess.run(
        (
            *(sys.executable, "-m", "coverage", "run"),
            *("--data-file", "data", f"{PACKAGE}/model/x.py"),
        ),
        cwd=tmp_path,
        check=True,
    )
    measured = rooms(tmp_path, tmp_path / "data")
    assert measured["model"] == Room(5, 1)
    assert measured["nova"] == Room(5, 5)
    assert "host" not in measured

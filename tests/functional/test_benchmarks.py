"""The smallest run of the comparisons, so that they do not rot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


def measured(*arguments: str) -> list[str]:
    """The lines of the table, but for its head."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.claims"),
            *("--hosts", "2", "--passes", "1", "--times", "2"),
            *arguments,
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rule, _, _, *lines, last = done.stdout.splitlines()
    assert rule == last
    return lines


@pytest.mark.parametrize("row", [3, 4, 6, 8])
def test_a_row_is_measured(row: int) -> None:
    (line,) = measured("--rows", str(row), "--databases", "sqlite")
    assert line.startswith(str(row))
    assert "met" in line


@pytest.mark.parametrize("row", [1, 7])
def test_a_row_beside_placement_is_measured(row: int) -> None:
    pytest.importorskip("placement")
    (line,) = measured("--rows", str(row), "--databases", "sqlite")
    assert line.startswith(str(row))
    assert "Placement" in line


def test_the_hook_is_measured() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks.hook", "--pairs", "1"),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, *lines = done.stdout.splitlines()
    assert len(lines) == 10
    assert sum("met" in line for line in lines) == 7


def test_a_pass_of_the_agent_is_measured() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.agent"),
            *("--functions", "40", "--passes", "3"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, cost, memory = done.stdout.splitlines()
    assert "x python3 -c pass" in cost
    assert "after 3 passes" in memory

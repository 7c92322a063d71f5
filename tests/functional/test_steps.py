"""How a run of all tests takes what became of each step."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
HUNG = "FAILED tests/a.py::one - HostHung: stood still"
OTHER = "FAILED tests/a.py::two - assert 1 == 2"
# Prints what the next of the files has, and fails if that is a failure.
PYTEST = """\
#!/bin/bash
echo "pytest $*" >>"$LOGS/calls"
this=$LOGS/$(wc -l <"$LOGS/calls")
cat "$this"
! grep -qE '^(FAILED|ERROR) ' "$this"
"""


def run(folder: Path, step: str, *said: str) -> tuple[int, str, list[str]]:
    """The status, the report, and how pytest was called.

    :param said: what pytest prints at each call.
    """
    program = folder / "bin/pytest"
    program.parent.mkdir()
    program.write_text(PYTEST)
    program.chmod(0o755)
    for number, text in enumerate(said, 1):
        (folder / str(number)).write_text(f"{text}\n")
    script = (
        f"set -euo pipefail; export LOGS={folder} PATH={folder}/bin:$PATH;"
        f" . {TOOLS}/setup.sh; . {TOOLS}/steps.sh; {step}; report"
    )
    done = subprocess.run(
        ("bash", "-c", script), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    calls = (folder / "calls").read_text().splitlines()
    return done.returncode, done.stdout, calls


LAB = "told lab run_lab tests"
AGAIN = "pytest tests --last-failed --last-failed-no-failures none"


def test_a_host_that_stood_still_is_tried_once_more(tmp_path: Path) -> None:
    status, shown, calls = run(tmp_path, LAB, HUNG, "1 passed")
    assert status == 0
    assert calls == ["pytest tests", AGAIN]
    assert "an emulated machine stood still" in shown
    assert "lab: 1 passed" in shown


def test_but_only_once(tmp_path: Path) -> None:
    status, shown, calls = run(tmp_path, LAB, HUNG, HUNG)
    assert status == 1
    assert len(calls) == 2
    assert "1 of 1 steps failed" in shown


@pytest.mark.parametrize("said", [OTHER, f"{HUNG}\n{OTHER}"])
def test_what_fails_otherwise_is_not(tmp_path: Path, said: str) -> None:
    status, shown, calls = run(tmp_path, LAB, said)
    assert status == 1
    assert calls == ["pytest tests"]
    assert "FAIL" in shown


def test_what_passes_is_not(tmp_path: Path) -> None:
    status, shown, calls = run(tmp_path, LAB, "3 passed")
    assert status == 0
    assert calls == ["pytest tests"]
    assert "0 of 1 steps failed" in shown


def test_one_failure_does_not_end_the_run(tmp_path: Path) -> None:
    steps = "tests first a; tests second b"
    status, shown, calls = run(tmp_path, steps, OTHER, "2 passed")
    assert status == 1
    assert calls == ["pytest a", "pytest b"]
    assert "1 of 2 steps failed" in shown
    assert "second: 2 passed" in shown

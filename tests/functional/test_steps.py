"""How a run of all tests takes what became of each step."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"
FAILED = "FAILED tests/a.py::two - assert 1 == 2"
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


def test_one_failure_does_not_end_the_run(tmp_path: Path) -> None:
    steps = "tests first a; tests second b"
    status, shown, calls = run(tmp_path, steps, FAILED, "2 passed")
    assert status == 1
    assert calls == ["pytest a", "pytest b"]
    assert "1 of 2 steps failed" in shown
    assert "second: 2 passed" in shown

"""What the hook leaves behind, and where it is installed from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin.host import hook

_IMPORT = "from gpu_passthrough_plugin.host import hook\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-c", _IMPORT + code),
        capture_output=True,
        text=True,
        check=False,
    )


def lines_once_there(log: Path, number: int) -> list[str]:
    until = time.monotonic() + 20
    lines: list[str] = []
    while len(lines) < number and time.monotonic() < until:
        time.sleep(0.05)
        lines = log.read_text().splitlines() if log.exists() else []
    return lines


def test_what_is_detached_has_none_of_libvirts_pipes(tmp_path: Path) -> None:
    """libvirt waits for the end of them, not of the hook alone."""
    log = tmp_path / "log"
    begun = time.monotonic()
    done = run(
        "import time\n"
        "hook._BOOTED = '/none'\n"
        "def work():\n"
        "    time.sleep(8)\n"
        "    print('done', flush=True)\n"
        f"hook.detached((), work, log={str(log)!r})\n"
    )
    assert time.monotonic() - begun < 8
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert lines_once_there(log, 1) == ["done"]
    assert os.stat(log).st_mode & 0o077 == 0


def test_a_failure_of_what_is_detached_is_logged(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "hook._BOOTED = '/none'\n"
    code += f"hook.detached((), lambda: 1 / 0, log={str(log)!r})\n"
    assert run(code).returncode == 0
    assert lines_once_there(log, 3)[-1].startswith("ZeroDivisionError")


@pytest.mark.parametrize("status", [0, 1])
def test_systemd_runs_it_where_there_is_one(
    tmp_path: Path, status: int
) -> None:
    """And where systemd does not, the hook itself does."""
    program = tmp_path / "systemd-run"
    log = tmp_path / "log"
    program.write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
    program.chmod(0o755)
    done = run(
        f"hook._BOOTED = {str(tmp_path)!r}\n"
        f"hook._SYSTEMD_RUN = {str(program)!r}\n"
        "argv = ('/p/python3', 'hook', 'release', 'U')\n"
        f"hook.detached(argv, lambda: print('otherwise'), log={str(log)!r})\n"
    )
    assert done.returncode == 0, done.stderr
    first, *rest = lines_once_there(log, 2 if status else 1)
    assert first.startswith("--no-block --collect")
    assert first.endswith("/p/python3 hook release U")
    assert rest == ["otherwise"] * status


def test_a_complaint_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    hook.complain(("a\n b", "c"), is_final=True)
    err = capfd.readouterr().err
    assert err == "gpu-passthrough: a b\ngpu-passthrough: c\n"


def test_quickstarts_environment_is_known_by_its_marks(tmp_path: Path) -> None:
    assert not hook.is_made_by_quickstart(str(tmp_path))
    setup = Path(__file__).parents[3] / "tools/setup.sh"
    for mark in (".made", ".package"):
        assert f"$VENV/{mark}" in setup.read_text()
        (tmp_path / mark).touch()
    assert hook.is_made_by_quickstart(str(tmp_path))


def test_caches_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/a/../b")
    monkeypatch.setenv("GPU_PASSTHROUGH_CACHE", "relative")
    assert hook.caches() == ("/srv/b",)

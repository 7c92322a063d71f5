"""Which of root's capabilities a command has left."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli.app import NAMESPACE
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.privileges import FILES, HOST, UNITS
from gpu_passthrough_plugin.model import address
from tests.functional.servers.process import owned

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has capabilities"
)

RECORDING = (
    Path(__file__).parents[1] / "recordings/shared-group.umockdev"
).resolve()
# As the console script begins, and what is left at its end.
MAIN = """
import sys
from gpu_passthrough_plugin.cli.main import main
main()
with open("/proc/self/status") as file:
    sys.stderr.write(file.read())
"""
READING = (
    "device list",
    "device show 0000:01:00.0",
    "group list",
    "group list -f csv",
    "group show 1",
    "topology",
    "host check",
    "host verify",
    "nova config",
)


def left(*words: str, code: str = MAIN) -> tuple[frozenset[int], str]:
    """The effective capabilities of a command, and what it printed."""
    done = subprocess.run(
        (sys.executable, "-c", code, *words),
        capture_output=True,
        text=True,
        check=False,
    )
    status = dict(re.findall(r"^(\w+):\t(.*)$", done.stderr, re.MULTILINE))
    assert status, done.stderr
    assert status["CapEff"] == status["CapPrm"]
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    number = int(status["CapEff"], 16)
    held = frozenset(bit for bit in range(64) if number >> bit & 1)
    return held, done.stdout + done.stderr


@pytest.mark.parametrize("command", READING)
def test_a_strangers_recording_is_read_with_few(command: str) -> None:
    held, _ = left("--recording", str(RECORDING), *command.split())
    assert held == FILES


def test_this_host_is_read_with_some() -> None:
    """The part of a command that does it, and nothing of this host."""
    code = MAIN.replace("cli.main import main", "cli.context import Context")
    call = 'Context("/", None, ()).confine(reads_only=True)'
    held, _ = left(code=code.replace("main()", call))
    assert held == HOST


def test_this_hosts_units_are_changed_with_some_more() -> None:
    code = MAIN.replace("cli.main import main", "cli.context import Context")
    call = 'Context("/", None, ()).confine(reads_only=False)'
    held, _ = left(code=code.replace("main()", call))
    assert held == UNITS


def test_a_command_that_runs_this_hosts_tools_keeps_all() -> None:
    code = MAIN.replace("cli.main import main", "cli.context import Context")
    call = 'Context("/", None, ()).confine(reads_only=False, runs_tools=True)'
    held, _ = left(code=code.replace("main()", call))
    assert len(held) > len(UNITS)


def test_what_each_command_keeps_is_known() -> None:
    commands = {
        point.name.replace("_", " "): point.load()
        for point in importlib.metadata.entry_points(group=NAMESPACE)
    }
    assert {name for name, c in commands.items() if c.runs_tools} == {
        *("host enable", "host disable"),
    }
    assert {name for name, c in commands.items() if c.reads_only} == {
        *("device list", "device show", "group list", "group show"),
        *("topology", "host check", "host verify", "host report"),
        *("host record", "nova config", "nova check", "candidate list"),
        *("allocation list", "allocation show", "unit list"),
        "unit show",
        *("unit history", "event list", "inventory list"),
        *("inventory hosts", "instance list", "instance show", "task list"),
    }


def test_a_strangers_report_is_read_with_few(tmp_path: Path) -> None:
    report = tmp_path / "r.tar.zst"
    held, _ = left(
        "--recording", str(RECORDING), "host", "report", f"{report}"
    )
    assert report.exists()
    held, _ = left("host", "verify", "--report", str(report))
    assert held == FILES


def test_a_folder_of_its_own_user_is_reached(tmp_path: Path) -> None:
    """As with sudo, in a home of mode 0700."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    recording = Path(shutil.copy(RECORDING, home))
    recording.chmod(0o600)
    for path in (home, recording):
        owned(path)
    _, printed = left("--recording", str(recording), "group", "list")
    assert "0000:01:00.0" in printed
    out = home / "out.tar.zst"
    left("--recording", str(recording), "host", "report", str(out))
    assert out.exists()


def test_executing_gains_none() -> None:
    code = """
import subprocess, sys
from gpu_passthrough_plugin.host import privileges
privileges.keep(privileges.FILES)
subprocess.run(["cat", "/proc/self/status"], stdout=sys.stderr)
"""
    held, printed = left(code=code)
    assert held <= FILES
    assert "NoNewPrivs:\t1" in printed


def test_another_programs_process_keeps_all() -> None:
    code = MAIN.replace("main()", "main(sys.argv[1:])")
    held, _ = left("--recording", str(RECORDING), "group", "list", code=code)
    assert len(held) > len(HOST)


_NEED_ROOT = (
    "host enable",
    "host enable --dry-run",
    "host disable",
    "inventory sync",
    "unit clear 0000:06:00.0",
    "hook install",
    "hook remove",
    "instance release 00000000-0000-4000-8000-000000000001",
    "instance detach 00000000-0000-4000-8000-000000000001",
)
# Reads everything, as an environment below /root needs; nothing else is left.
_NOBODY = (
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search",
    "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


def nobodys(*words: str) -> subprocess.CompletedProcess[str]:
    """A call by a user who may change nothing."""
    code = MAIN.partition("main()\n")[0] + "sys.exit(main())"
    return subprocess.run(
        (*_NOBODY, sys.executable, "-c", code, *words),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", _NEED_ROOT)
def test_that_root_is_needed_is_said(command: str, tmp_path: Path) -> None:
    config = tmp_path / "gpu.conf"
    config.write_text(f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}/state\n")
    done = nobodys("--config-file", str(config), *command.split())
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "needs root" in line and "65534" in line
    assert not (tmp_path / "state").exists()


def test_that_a_ledger_is_roots_is_said(tmp_path: Path) -> None:
    config = tmp_path / "gpu.conf"
    config.write_text(f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}/state\n")
    before = nobodys("--config-file", str(config), "db", "sync")
    assert left("--config-file", str(config), "db", "sync")
    for verb in ("inventory cordon h", "inventory list"):
        done = nobodys("--config-file", str(config), *verb.split())
        for each in (before, done):
            assert each.returncode == 2
            assert "needs root" in each.stderr


def test_a_child_has_no_capabilities_and_no_files(tmp_path: Path) -> None:
    """A child that lived on with the lock's file would hold the lock."""
    shown = tmp_path / "shown"
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)

    def show() -> None:
        status = Path("/proc/self/status").read_text()
        lines = [x for x in status.splitlines() if x.startswith("CapEff")]
        lines += [os.readlink(f"/proc/self/fd/{n}") for n in range(3)]
        try:
            os.fstat(lock)
        except OSError:
            lines.append("the lock is closed")
        shown.write_text("\n".join(lines))

    try:
        FunctionCalls(str(tmp_path / "calls")).run(
            "work", (address.parse("06:00.0"),), show
        )
    finally:
        os.close(lock)
    first, *others = shown.read_text().splitlines()
    assert int(first.split()[1], 16) == 0
    assert others == [os.devnull] * 3 + ["the lock is closed"]

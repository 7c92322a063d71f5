"""The quick answers, and what a listing does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpu_passthrough_plugin.cli import main, version
from gpu_passthrough_plugin.discovery import recording

# What costs more than a whole listing may.
HEAVY = {"sqlalchemy", "alembic", "tooz", "libvirt", "lxml"}
_MAIN = """
import sys
from gpu_passthrough_plugin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_LOADED = """
import sys
from gpu_passthrough_plugin.cli.main import main
status = main(sys.argv[1:])
print(*sorted(sys.modules), file=sys.stderr)
sys.exit(status)
"""


def imported(*argv: str) -> set[str]:
    """Every top-level module that a successful command imported."""
    done = subprocess.run(
        (sys.executable, "-c", _LOADED, *argv),
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "argv",
    [
        ("group", "list"),
        ("group", "show", "18"),
        ("device", "list"),
        ("device", "show", "0000:06:00.0"),
        ("topology",),
    ],
)
def test_a_listing_imports_nothing_heavy(argv: tuple[str, ...]) -> None:
    found = imported("--recording", recording.SEED, *argv)
    assert found & HEAVY == set()
    # The check itself sees what is imported.
    assert "gpu_passthrough_plugin" in found


@pytest.mark.parametrize("word", ["--version", "complete"])
def test_a_quick_answer_imports_no_cliff(word: str) -> None:
    assert imported(word) & {"cliff", "stevedore", "oslo_config"} == set()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out == f"gpu-passthrough {version.version()}\n"
    assert version.version()[0].isdigit()


def test_the_completion_is_current() -> None:
    """``gpu-passthrough complete`` prints a file; this is what it must be.

    To make it anew: tox -e genconfig.
    """
    generated = subprocess.run(
        (sys.executable, "-c", _MAIN, "complete", "--name", "gpu-passthrough"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert main.completion() == generated.stdout
    assert "cmds_instance='boot release'" in main.completion()


def test_completion_is_bash() -> None:
    subprocess.run(
        ("bash", "-n"), input=main.completion(), text=True, check=True
    )

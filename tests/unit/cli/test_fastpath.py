"""What is printed without cliff is what cliff prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpu_passthrough_plugin.cli import fastpath
from gpu_passthrough_plugin.discovery import recorded_tree

RECORDINGS = Path(__file__).parents[2] / "recordings"
HOSTS = (
    recorded_tree.SEED,
    str(RECORDINGS / "shared-group.umockdev"),
    str(RECORDINGS / "firmware-off.umockdev"),
)
_MAIN = """
import sys
from gpu_passthrough_plugin.cli.main import main
status = main(sys.argv[1:])
print("cliff" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


def printed(*argv: str) -> tuple[str, bool]:
    """What a command prints, and whether cliff printed it."""
    done = subprocess.run(
        (sys.executable, "-c", _MAIN, *argv),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.splitlines()[-1] == "True"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("form", ["table", "json", "value"])
@pytest.mark.parametrize(
    "verb", ["device list", "group list", "group list --assignable"]
)
def test_it_is_what_cliff_prints(host: str, form: str, verb: str) -> None:
    call = ("--recording", host, *verb.split(), "-f", form)
    ours, by_cliff = printed(*call)
    assert not by_cliff
    theirs, by_cliff = printed("-q", *call)
    assert by_cliff
    assert ours == theirs


@pytest.mark.parametrize(
    "words",
    [
        "group list --sort-column Group",
        "group list -c Group",
        "group list -f yaml",
        "group list -f",
        "group list -f json -f value",
        "-v group list",
        "unit list",
        "--root",
        "--root group list",
        "list",
        "",
    ],
)
def test_the_rest_is_cliffs(words: str) -> None:
    assert fastpath.parse(words.split()) is None


def test_the_last_of_an_option_counts() -> None:
    roots = ["--root", "/a", "--root", "/b"]
    call = fastpath.parse([*roots, "group", "list", "-f", "json"])
    assert call is not None
    assert (call.verb, call.form) == (("group", "list"), "json")


def test_a_modalias_that_is_not_utf_8(tmp_path: Path) -> None:
    seed = Path(recorded_tree.SEED).read_bytes()
    assert b"E: MODALIAS=pci:v0000" in seed or b"A: modalias=pci:v0000" in seed
    path = tmp_path / "odd.umockdev"
    path.write_bytes(seed.replace(b"=pci:v0000", b"=pci:v000\xff"))
    for verb in ("group list", "device list"):
        out, by_cliff = printed("--recording", str(path), *verb.split())
        assert "0000:06:00.0" in out
        assert not by_cliff

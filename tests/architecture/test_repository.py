"""Nothing binary is tracked that the package does not ship."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# What the package ships is text as well, so far.
BINARY: frozenset[str] = frozenset()


def binaries(root: Path, names: Iterable[str]) -> list[str]:
    """Return the files that are not UTF-8 text, and are not listed."""
    return [
        name
        for name in names
        if name not in BINARY and not is_text((root / name).read_bytes())
    ]


def is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False


def git(*arguments: str) -> str:
    done = subprocess.run(
        ("git", "-c", f"safe.directory={CHECKOUT}", *arguments),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture
def tracked() -> list[str]:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("no git checkout")
    names = [name for name in git("ls-files", "-z").split("\0") if name]
    # One that was removed and is not committed yet is still listed.
    return [name for name in names if (CHECKOUT / name).exists()]


def test_no_binary_is_tracked(tracked: list[str]) -> None:
    assert len(tracked) > 500
    assert binaries(CHECKOUT, tracked) == []


def test_no_tracked_file_is_one_to_ignore(tracked: list[str]) -> None:
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard") == ""


@pytest.mark.parametrize(
    "name",
    [
        "py_spy-0.4.2-py2.py3-none-manylinux_2_5_x86_64.whl",
        "gpu_passthrough_plugin/fast.cpython-311-x86_64-linux-gnu.so",
        "report.tar.zst",
        "disk.qcow2",
        "core",
    ],
)
def test_a_stray_binary_is_ignored(name: str) -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("no git checkout")
    assert git("check-ignore", "--no-index", name) == f"{name}\n"


@pytest.mark.parametrize("content", [b"\x7fELF\0", b"PK\x03\x04\xff", b"\xff"])
def test_a_binary_is_found(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_text("text, and ü")
    assert binaries(tmp_path, ["a", "b"]) == ["a"]

"""The machine that runs the tests is out of their bounds."""

from __future__ import annotations

import contextlib
import importlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Poison

TOUCHES: tuple[Callable[[], object], ...] = (
    lambda: Path("/proc/cmdline").read_text(),
    lambda: os.listdir("/sys"),
    lambda: os.scandir(b"/sys/bus/pci/devices"),
    lambda: list(Path("/sys/../boot").iterdir()),
    lambda: os.open("/", os.O_PATH),
    lambda: Path("/etc/default/grub.new").write_text(""),
    lambda: os.rename("/tmp/nothing", "/etc/nothing"),  # noqa: S108 - unmade
    lambda: sqlite3.connect("/var/lib/gpu-passthrough/ledger.sqlite"),
)


@pytest.mark.parametrize("touch", TOUCHES)
def test_touching_it_fails(
    touch: Callable[[], object], poison: Poison
) -> None:
    with pytest.raises(AssertionError, match="build a tree"):
        touch()
    assert len(poison.touched) == 1
    poison.touched.clear()


def test_touching_it_is_remembered_when_the_code_goes_on(
    poison: Poison,
) -> None:
    with contextlib.suppress(Exception):
        os.listdir("/sys/bus")
    assert poison.touched == ["os.listdir /sys/bus"]
    poison.touched.clear()


def test_another_projects_import_may_read_what_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = tmp_path / "reads_at_import.py"
    reader.write_text("with open('/proc/stat') as f: TEXT = f.read()")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("reads_at_import").TEXT


def test_a_tree_of_the_tests_own_may_have_such_names(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    assert os.listdir(tmp_path / "sys") == []

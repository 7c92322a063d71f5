"""Who can change a path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import ownership


def paths(*names: str, folder: Path) -> dict[str, int]:
    """What is looked at below the test's own folder, with its mode."""
    top = os.path.realpath(folder.parent)
    facts = ownership.path_facts(names, str(folder))
    assert {"/", top} <= {fact.path for fact in facts}
    return {
        fact.path.removeprefix(f"{top}/"): fact.mode & 0o777
        for fact in facts
        if fact.path.startswith(f"{top}/")
    }


def test_everything_that_leads_to_the_hook_is_looked_at(
    tmp_path: Path,
) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True, mode=0o755)
    (package / "inner/module.py").touch(0o600)
    (tmp_path / "base/bin").mkdir(parents=True, mode=0o700)
    (tmp_path / "base/bin/python3.11").touch(0o755)
    (tmp_path / "bin").mkdir(mode=0o755)
    (tmp_path / "bin/python3").symlink_to("../base/bin/python3.11")
    python = str(tmp_path / "bin/python3")
    missing = str(tmp_path / "lib/none")
    found = paths(python, missing, folder=package)
    assert found.keys() == {
        "package",
        "package/inner",
        "package/inner/module.py",
        "base",
        "base/bin",
        "base/bin/python3.11",
        "bin",
        "bin/python3",
    }
    assert found["package/inner/module.py"] == 0o600


def test_links_without_an_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(errors.ReadFailed, match="Too many levels"):
        ownership.path_facts((), str(tmp_path))

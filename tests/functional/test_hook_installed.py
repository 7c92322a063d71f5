"""libvirt's hook is put in place, and taken away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import script
from gpu_passthrough_plugin.flow import hook_install
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.model.change import Action
from tests.functional.hooked import (
    AUDIO,
    GPU,
    ME,
    HookedHost,
    installation,
    xml,
)

WHOLE = xml(GPU, AUDIO)


@pytest.fixture(scope="module")
def proper() -> Iterator[Path]:
    """The interpreter of an installation that libvirt may run."""
    with installation() as python:
        yield python


ROW = {"Step": "libvirt hook", "Target": script.PATH, "Action": "create"}


def test_it_is_put_in_place_and_taken_away(
    tmp_path: Path, proper: Path
) -> None:
    host = HookedHost(tmp_path, python=proper)
    shown = host.cli("hook", "install", "--dry-run", "-f", "json")
    assert json.loads(shown.stdout) == [ROW]
    assert f"+PYTHON={proper}" in shown.stderr
    assert not host.program.exists()
    made = host.cli("hook", "install", "-f", "json")
    assert json.loads(made.stdout) == [ROW]
    assert "libvirtd" in made.stderr
    assert "warning" not in made.stderr
    assert host.program.stat().st_mode & 0o7777 == 0o755
    text = host.program.read_bytes()
    host.program.chmod(0o600)
    # What it does is in the configuration, and not in the program.
    host.configure("[hook]\nmode = full\n")
    again = host.cli("hook", "install", "-f", "json")
    assert json.loads(again.stdout) == [ROW | {"Action": "keep"}]
    assert "libvirtd" not in again.stderr
    assert host.program.read_bytes() == text
    assert host.program.stat().st_mode & 0o7777 == 0o755
    host.config = host.config.rename(tmp_path / "other.conf")
    changed = host.cli("hook", "install", "-f", "json")
    assert json.loads(changed.stdout) == [ROW | {"Action": "change"}]
    assert host.program.read_bytes() != text
    for action in ("remove", "absent"):
        done = host.cli("hook", "remove", "-f", "json")
        assert json.loads(done.stdout) == [ROW | {"Action": action}]
        assert list(host.program.parent.iterdir()) == []


def test_without_a_ledger_the_operator_is_warned(
    tmp_path: Path, proper: Path
) -> None:
    host = HookedHost(tmp_path, python=proper)
    (host.state / "ledger.sqlite").unlink()
    made = host.cli("hook", "install")
    assert made.returncode == 0
    assert "warning" in made.stderr
    assert "db sync" in made.stderr


def test_what_is_not_roots_is_not_installed(
    tmp_path: Path, proper: Path
) -> None:
    host = HookedHost(tmp_path, python=proper)
    folder = proper.parent
    folder.chmod(0o777)
    try:
        done = host.cli("hook", "install")
    finally:
        folder.chmod(0o755)
    assert (done.returncode, str(folder) in done.stderr) == (1, True)
    assert not host.program.exists()


def test_quickstarts_environment_is_not_installed(
    tmp_path: Path, proper: Path
) -> None:
    host = HookedHost(tmp_path, python=proper)
    marks = [proper.parents[1] / name for name in (".made", ".package")]
    for mark in marks:
        mark.touch()
    try:
        done = host.cli("hook", "install")
    finally:
        for mark in marks:
            mark.unlink()
    assert (done.returncode, "quickstart.sh" in done.stderr) == (1, True)
    assert not host.program.exists()


def test_what_is_installed_may_go(tmp_path: Path) -> None:
    """As when the environment of a release is deleted for another's."""
    with installation() as python:
        host = HookedHost(tmp_path, python=python)
        done = host.cli("hook", "install")
        assert done.returncode == 0, done.stderr
        assert host.call(WHOLE).returncode == 0
        assert host.states()[GPU] == ("active", ME)
    assert host.call(xml()).returncode == 0
    done = host.call(WHOLE)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(python) in done.stderr
    for operation, step in (("reconnect", "begin"), ("release", "end")):
        done = host.call(WHOLE, operation, step)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["install", "remove"])
def test_another_file_is_left_alone(
    tmp_path: Path, proper: Path, verb: str
) -> None:
    host = HookedHost(tmp_path, python=proper)
    host.install()
    edited = host.program.read_text() + "exit 0\n"
    for text in ("#!/bin/sh\n", edited):
        host.program.write_text(text)
        done = host.cli("hook", verb)
        assert (done.returncode, script.PATH in done.stderr) == (1, True)
        assert host.program.read_text() == text


def test_a_host_without_libvirt_gets_none(
    tmp_path: Path, proper: Path
) -> None:
    host = HookedHost(tmp_path, python=proper)
    (host.root / "etc/libvirt").rmdir()
    done = host.cli("hook", "install")
    assert (done.returncode, "/etc/libvirt" in done.stderr) == (1, True)
    assert not (host.root / "etc/libvirt").exists()


def test_an_old_libvirt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "etc/libvirt").mkdir(parents=True)
    files = Files(str(tmp_path))
    program = script.Program("/p/python3", "/p/entry.py", ())
    with pytest.raises(errors.Refused, match=r"6\.4\.0.*6\.5\.0"):
        hook_install.plan_install(files, program, 6_004_000)
    for version in (6_005_000, 9_000_000, None):
        change = hook_install.plan_install(files, program, version)
        assert change.action is Action.CREATE
    assert list((tmp_path / "etc/libvirt").iterdir()) == []


@pytest.mark.parametrize("verb", ["install", "remove"])
def test_a_recorded_host_is_not_changed(tmp_path: Path, verb: str) -> None:
    done = HookedHost(tmp_path).cli("--recording", "x", "hook", verb)
    assert (done.returncode, "--recording" in done.stderr) == (2, True)

"""Who can change a path."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import ownership
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.host.lock_backend import connected
from gpu_passthrough_plugin.model.instance import Instance

INSTANCE = Instance("5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11")


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


@contextlib.contextmanager
def masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0, 0o002, 0o022, 0o077])
def test_a_folder_is_made_for_its_owner_alone(
    tmp_path: Path, mask: int
) -> None:
    folder = tmp_path / "a/state/locks"
    with masked(mask):
        ownership.make_private(str(folder))
        ownership.make_private(str(folder))
    for path in (folder, folder.parent, folder.parents[1]):
        assert path.stat().st_mode & 0o777 == 0o700
    ownership.require_private(str(folder.parent))


@pytest.mark.parametrize("mask", [0, 0o002, 0o022])
def test_everything_makes_the_state_folder_so(
    tmp_path: Path, mask: int
) -> None:
    def lock(state: str) -> None:
        with JournalStore(f"{state}/enablement").lock():
            pass

    def connect(state: str) -> None:
        folder = f"{state}/locks"
        url = f"file://{folder}"
        with connected(url, member="m", folder=folder, timeout_s=5):
            pass

    acts: tuple[Callable[[str], object], ...] = (
        lock,
        connect,
        lambda state: Commands(
            f"{state}/log", f"{state}/locks/commands", pytest.fail
        ).run(["/bin/true"], "x"),
        lambda state: JournalStore(f"{state}/enablement").keep("0", b""),
        lambda state: InstanceJournal(f"{state}/instances").write(INSTANCE),
    )
    for number, act in enumerate(acts):
        state = tmp_path / str(number) / "state"
        with masked(mask):
            act(str(state))
        assert state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o707, 0o702])
def test_a_folder_that_others_can_write_to(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(errors.Invalid) as caught:
        ownership.require_private(str(folder))
    assert str(folder) in str(caught.value)
    assert f"{mode:o}" in str(caught.value)
    for fine in (0o700, 0o755, 0o500):
        folder.chmod(fine)
        ownership.require_private(str(folder))


def test_what_others_can_do_above_it(tmp_path: Path) -> None:
    """In a sticky folder nobody renames what is another's."""
    above = tmp_path / "above"
    folder = above / "state"
    folder.mkdir(parents=True, mode=0o700)
    for mode, is_refused in ((0o1777, False), (0o777, True), (0o755, False)):
        above.chmod(mode)
        for path in (folder, above / "missing", above / "missing/state"):
            if is_refused:
                with pytest.raises(errors.Invalid, match=f"{above} "):
                    ownership.require_private(str(path))
            else:
                ownership.require_private(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to("state")
    ownership.require_private(str(link))
    os.chown(link, 65534, 0, follow_symlinks=False)
    with pytest.raises(errors.Invalid, match=f"{link} belongs to") as caught:
        ownership.require_private(str(link))
    # What chown of a link changes is the folder behind it.
    assert "set another state_path" in str(caught.value)
    assert "chown" not in str(caught.value)
    os.chown(folder, 65534, 0)
    for path in (folder, folder / "inner"):
        with pytest.raises(errors.Invalid, match=f"{folder} belongs"):
            ownership.require_private(str(path))


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "dangling", "file/below"):
        with pytest.raises(OSError, match="Not a directory"):
            ownership.make_private(str(tmp_path / name))

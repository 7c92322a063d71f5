"""Locks among this host's processes, and who holds one."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.local_lock import (
    LocalLock,
    is_held,
    owner,
)


def lock(path: Path, on_wait: Callable[[str], None]) -> LocalLock:
    return LocalLock(
        str(path / "state/files.lock"),
        "the files",
        timeout_s=0.3,
        on_wait=on_wait,
    )


@contextlib.contextmanager
def held_elsewhere(path: Path) -> Iterator[int]:
    """Give the number of a process that holds the lock, and kill it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with lock(path, pytest.fail)():
            os.write(write, b"x")
            signal.pause()
    assert os.read(read, 1) == b"x"
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_another_process_waits_and_says_for_whom(tmp_path: Path) -> None:
    lines: list[str] = []
    mine = lock(tmp_path, lines.append)
    with held_elsewhere(tmp_path) as pid:
        with pytest.raises(errors.Unavailable) as caught, mine():
            pass
        assert f"process {pid} (" in str(caught.value)
        (line,) = lines
        assert f"process {pid} (" in line
    # The kernel releases what a killed process held.
    with mine():
        pass
    assert len(lines) == 1


def test_what_has_it_may_take_it_again(tmp_path: Path) -> None:
    mine = lock(tmp_path, pytest.fail)
    lines: list[str] = []
    with mine(), mine():
        pass
    with pytest.raises(KeyError), mine(), mine():
        raise KeyError
    with mine():
        with mine():
            pass
        with (
            pytest.raises(errors.Unavailable),
            lock(tmp_path, lines.append)(),
        ):
            pass
    assert len(lines) == 1
    with lock(tmp_path, pytest.fail)():
        pass


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with (
        pytest.raises(errors.Unavailable, match=r"state/files\.lock"),
        lock(tmp_path, pytest.fail)(),
    ):
        pass


def test_the_owner_is_a_process_that_runs(tmp_path: Path) -> None:
    note = tmp_path / "node-1.holder"
    nobody = "an unknown process"
    assert owner(str(note)) == nobody
    for text in ("", "x", "x command", "-1 command", f"{2**70} command"):
        note.write_text(text)
        assert owner(str(note)) == nobody
    note.write_bytes(b"\xff command")
    assert owner(str(note)) == nobody
    note.write_text(f"{os.getpid()} gpu-passthrough host enable")
    name = f"process {os.getpid()} (gpu-passthrough host enable)"
    assert owner(str(note)).startswith(name)
    os.utime(note, (os.stat(note).st_mtime - 90,) * 2)
    assert int(owner(str(note)).split()[-2]) in range(90, 120)


def test_whether_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "agent"
    assert not is_held(str(path))
    agent = LocalLock(
        str(path), "this host's agent", timeout_s=0, on_wait=lambda _: None
    )
    with agent():
        assert is_held(str(path))
    assert not is_held(str(path))
    path.unlink()
    path.symlink_to(tmp_path)
    with pytest.raises(errors.Unavailable, match="agent"):
        is_held(str(path))

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.commands import Commands


@pytest.fixture
def said() -> list[str]:
    return []


def commands(
    folder: Path, said: list[str], *, timeout_s: float = 20, root: str = "/"
) -> Commands:
    return Commands(
        str(folder / "state/log"),
        str(folder / "state/lock"),
        said.append,
        root=root,
        timeout_s=timeout_s,
        patience_s=0.4,
        beat_s=0.1,
    )


def script(folder: Path, text: str) -> str:
    path = folder / "script"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_a_command_says_is_in_the_log(
    tmp_path: Path, said: list[str]
) -> None:
    run = commands(tmp_path, said)
    run.run([script(tmp_path, 'echo "$@"; echo oh >&2'), "a b", "*"], "greet")
    log = (tmp_path / "state/log").read_text()
    assert log == f"\n# greet: {tmp_path}/script a b *\na b *\noh\n"
    assert run.output([script(tmp_path, "echo é; echo no >&2")], "list") == (
        "é\n"
    )
    assert (tmp_path / "state/log").read_text().endswith("script\nno\n")
    assert said == []


def test_nothing_of_the_operators_gets_in(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    run = commands(tmp_path, said)
    mask = os.umask(0o077)
    try:
        found = run.output(
            [script(tmp_path, "env; umask; pwd; read x || echo none")], "look"
        )
    finally:
        os.umask(mask)
    lines = set(found.splitlines())
    assert lines >= {"LC_ALL=C", "0022", "/", "none", "HOME=/root"}
    assert not [line for line in lines if line.startswith("LANG")]
    assert str(tmp_path) not in found


def test_programs_are_looked_up_below_the_root(
    tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "root/bin").mkdir(parents=True)
    script(tmp_path / "root/bin", "pwd")
    run = commands(tmp_path, said, root=str(tmp_path / "root"))
    assert run.output(["/bin/script"], "look") == f"{tmp_path}/root\n"


def test_a_command_that_fails(tmp_path: Path, said: list[str]) -> None:
    run = commands(tmp_path, said)
    for text, *data in (
        ("seq 9; exit 3", "exit status 3", ": 7 | 8 | 9;"),
        ("exit 1", "exit status 1"),
        ("echo '  a\tb '; kill -9 $$", "signal 9", ": a b;"),
    ):
        path = script(tmp_path, text)
        with pytest.raises(errors.Unavailable) as caught:
            run.run([path], "menu")
        for datum in ("'menu'", path, *data, f"{tmp_path}/state/log"):
            assert datum in str(caught.value)


def test_a_command_that_is_not_there(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(errors.Unavailable) as caught:
        commands(tmp_path, said).run([f"{tmp_path}/none"], "menu")
    assert str(caught.value) == (
        f"failed at step 'menu': cannot run {tmp_path}/none: No such file or"
        " directory"
    )


def test_a_command_that_takes_long_tells_and_is_ended(
    tmp_path: Path, said: list[str]
) -> None:
    run = commands(tmp_path, said, timeout_s=0.5)
    path = script(tmp_path, "sleep 30 & wait")
    start = time.monotonic()
    with pytest.raises(errors.Unavailable, match=r"'image'.*timed out"):
        run.run([path], "image")
    assert time.monotonic() - start < 5
    assert said[0] == "image: 0 s"
    assert len(said) >= 3
    # What it started is gone as well, and the lock with it.
    run.settle()


def test_a_command_left_behind_is_waited_for_so_long(
    tmp_path: Path, said: list[str]
) -> None:
    run = commands(tmp_path, said)
    run.run([script(tmp_path, "true")], "make the image")
    lock = tmp_path / "state/lock"
    handle = os.open(lock, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    for act in (run.settle, lambda: run.run(["/bin/true"], "menu")):
        said.clear()
        with pytest.raises(errors.Unavailable) as caught:
            act()
        assert "(make the image)" in str(caught.value)
        assert f"'fuser {lock}'" in str(caught.value)
        assert said[0] == (
            "waiting for a command that an interrupted run started (make the"
            " image): 0 s"
        )
    os.close(handle)
    run.settle()


def test_a_daemon_that_a_command_starts_is_not_waited_for(
    tmp_path: Path, said: list[str]
) -> None:
    run = commands(tmp_path, said)
    run.run([script(tmp_path, "sleep 2 &")], "start")
    run.settle()
    assert said == []


def test_a_state_folder_that_cannot_be_made(
    tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(errors.Unavailable, match=r"cannot open .*state/"):
        commands(tmp_path, said).run(["/bin/true"], "x")


def test_waiting_for_none_creates_nothing(
    tmp_path: Path, said: list[str]
) -> None:
    """As a plan does on a host that was never changed."""
    commands(tmp_path, said).settle()
    assert not list(tmp_path.iterdir())

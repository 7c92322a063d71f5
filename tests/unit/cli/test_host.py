"""Where ``host record`` and ``host report`` write, and what they leave."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import dependencies, host, output
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.model.redaction import Redaction

VERBS = ("record", "report")
_CODE = """
import sys
from gpu_passthrough_plugin.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
_MAIN = (sys.executable, "-c", _CODE, "--recording", recorded_tree.SEED)


def command(
    *words: str, limit_bytes: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """How a command on the seed ended.

    :param limit_bytes: how large a file of its may get.
    """

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)
            )

    return subprocess.run(
        (*_MAIN, *words),
        capture_output=True,
        preexec_fn=limit,
        check=False,
    )


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


STRANGE: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "directory": os.mkdir,
    "socket": _socket,
    "symbolic link": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_file_is_left_alone(
    verb: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "it"
    STRANGE[kind](path)
    before = os.lstat(path)
    for words in ((str(path),), (str(path), "--force")):
        done = command("host", verb, *words)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert f"{path} is a {kind}".encode() in done.stderr
    after = os.lstat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(tmp_path) == ["it"]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/stdout"])
def test_devices_are_left_alone(path: str) -> None:
    for is_forced in (False, True):
        with pytest.raises(errors.Invalid, match=path):
            output.require_writable(path, is_forced=is_forced)


@pytest.mark.parametrize("verb", VERBS)
def test_a_file_is_replaced_only_by_force(verb: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_text("mine")
    done = command("host", verb, str(path))
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"--force" in done.stderr
    assert path.read_text() == "mine"
    done = command("host", verb, str(path), "--force")
    assert done.returncode == 0
    assert b"older file" in done.stderr
    assert path.read_bytes() == command("host", verb, "-").stdout
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["it"]


def test_the_empty_file_of_mktemp_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    assert command("host", "record", str(path)).returncode == 0
    assert path.read_bytes()


@pytest.mark.parametrize("verb", VERBS)
def test_a_write_that_fails_leaves_the_former_file(
    verb: str, tmp_path: Path
) -> None:
    path = tmp_path / "it"
    path.write_text("mine")
    done = command("host", verb, str(path), "--force", limit_bytes=100)
    # What is not in a report of a recording is said before.
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert str(path).encode() in done.stderr.splitlines()[-1]
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["it"]


def test_what_stops_a_write_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_handle: int) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(os, "fsync", stop)
    path = tmp_path / "it"
    with pytest.raises(SystemExit):
        output.save(str(path), b"x", Redaction(), is_forced=False)
    assert os.listdir(tmp_path) == []


def test_a_terminal_gets_no_recording() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        done = subprocess.run(
            (*_MAIN, "host", "record", "-"),
            stdout=terminal,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "write to stdout"),
        (ConnectionRefusedError(111, "Connection refused"), "unexpected"),
        (PermissionError(13, "Permission denied", "/x"), "/x"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
    ],
)
def test_only_what_stdout_fails_with_is_blamed_on_it(
    error: OSError, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    with contextlib.redirect_stdout(io.StringIO()):
        assert output.run(fail) == 2
        sys.stdout.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line
    assert ("stdout" in line) is (error.errno == errno.ENOSPC)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link to another user")
def test_nothing_is_written_behind_a_link_of_another_user(
    tmp_path: Path,
) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
    path = str(tmp_path / "link/it")
    with pytest.raises(errors.Refused, match=f"{tmp_path}/link"):
        output.save(path, b"x", Redaction(), is_forced=False)
    assert os.listdir(tmp_path / "target") == []
    os.chown(tmp_path / "link", 0, 0, follow_symlinks=False)
    output.save(path, b"x", Redaction(), is_forced=False)
    assert (tmp_path / "target/it").read_bytes() == b"x"


def test_nothing_else_is_checked_of_a_state_path_that_is_not_private(
    tmp_path: Path,
) -> None:
    """Each of the others would only say the same again."""
    config, state = tmp_path / "gpu.conf", tmp_path / "state"
    config.write_text(f"[DEFAULT]\nstate_path = {state}\n")
    state.mkdir()
    state.chmod(0o777)
    context = Context("/", None, [str(config)])
    (only,) = dependencies.of_host(context)
    assert only.name == "state"
    with pytest.raises(errors.Invalid, match="state"):
        only.check()


def test_an_option_takes_lists_as_files_do() -> None:
    assert host._listed(["a, b", "c"]) == ("a", "b", "c")

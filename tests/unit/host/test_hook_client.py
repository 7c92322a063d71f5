"""What the hook makes of the agent's answers: its text, run as it runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin.host import hook, hook_client

Agent = Callable[[socket.socket], None]
# Two shells: the client's parent is the hook's, whose parent is the caller.
_SHELL = 'exec 3>&2; "$@" 2>/dev/null; exit $?'


def ask(
    folder: Path,
    agent: Agent,
    *,
    caller: int | None = None,
    limit_s: float = 9,
) -> tuple[int, bytes, float]:
    """Return how the client ended, what it told, and how long it took."""
    path = folder / "s"
    text = hook.client_text().replace("BEGIN_S, GRACE_S = 2.0, 1.0", "B")
    assert "\nB\n" in text
    text = text.replace("\nB\n", "\nBEGIN_S, GRACE_S = 0.5, 0.3\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener, agent))
        thread.start()
        begun = time.monotonic()
        done = subprocess.run(
            (
                *("sh", "-c", _SHELL, "sh", sys.executable, "-I", "-S", "-c"),
                *(text, str(path), str(caller or os.getpid())),
                *("--", "g", "prepare"),
            ),
            input=b"<domain/>",
            capture_output=True,
            timeout=9,
            check=False,
        )
        took_s = time.monotonic() - begun
        thread.join()
    assert done.stdout == b""
    return done.returncode, done.stderr, took_s


def answer(listener: socket.socket, agent: Agent) -> None:
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(8) == b"\0\0\0\x0c\0\0\0\x09"
        assert connection.recv(21) == b"--\0g\0prepare<domain/>"
        agent(connection)


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"0", hook_client.PASSED, b""),
        (b"1no\n", hook_client.REFUSED, b"no\n"),
        (b"0logged\n", hook_client.PASSED, b"logged\n"),
    ],
)
def test_an_answer(
    tmp_path: Path, body: bytes, status: int, text: bytes
) -> None:
    begin = message(b"L", b"6")
    ended = ask(tmp_path, lambda c: c.sendall(begin + message(b"A", body)))
    assert ended[:2] == (status, text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"A\0\0",
        message(b"A"),
        message(b"A", b"2"),
        message(b"X"),
        message(b"L", b"soon"),
        b"A\xff\xff\xff\xff",
    ],
)
def test_what_is_no_answer(tmp_path: Path, data: bytes) -> None:
    ended = ask(tmp_path, lambda c: c.sendall(data))
    assert ended[:2] == (hook_client.UNANSWERED, b"")


def test_nothing_is_waited_for_longer_than_the_agent_said(
    tmp_path: Path,
) -> None:
    def silent(connection: socket.socket) -> None:
        connection.sendall(message(b"L", b"0.5"))
        time.sleep(3)

    status, _, took_s = ask(tmp_path, silent)
    assert status == hook_client.UNANSWERED
    assert 0.7 < took_s < 2.5


@pytest.mark.parametrize("is_alive", [True, False])
def test_the_caller_is_looked_at_when_the_agent_asks(
    tmp_path: Path, is_alive: bool
) -> None:
    heard = []

    def asking(connection: socket.socket) -> None:
        connection.sendall(message(b"?"))
        heard.append(connection.recv(1))
        if is_alive:
            connection.sendall(message(b"A", b"0"))

    caller = os.getpid() if is_alive else 1 << 30
    status, _, _ = ask(tmp_path, asking, caller=caller)
    assert heard == [b"+" if is_alive else b""]
    expected = hook_client.PASSED if is_alive else hook_client.UNANSWERED
    assert status == expected


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
    for path in ("s", "none"):
        done = subprocess.run(
            (
                *(sys.executable, "-I", "-S", "-c", hook.client_text()),
                *(str(tmp_path / path), "1", "--"),
            ),
            capture_output=True,
            check=False,
        )
        assert done.returncode == hook_client.UNANSWERED
        assert (done.stdout, done.stderr) == (b"", b"")


def test_few_modules_are_imported() -> None:
    """libvirt waits for it."""
    code = f"{hook.client_text()}\n".replace("posix._exit(main())", "pass")
    done = subprocess.run(
        (
            *(sys.executable, "-I", "-S", "-c"),
            "import sys; before = set(sys.modules)\n"
            + code
            + "\nprint(*sorted(set(sys.modules) - before))",
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["_socket"]

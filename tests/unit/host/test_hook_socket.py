"""Where the agent answers the hook, whom, and what it takes for a request."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import hook_socket
from gpu_passthrough_plugin.host.hook_socket import (
    ClientGone,
    Conversation,
    Request,
    listening,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "agent.sock")


def refused(text: str) -> pytest.RaisesExc[errors.Refused]:
    return pytest.raises(errors.Refused, match=text)


def test_only_its_user_can_reach_it_and_it_is_removed(path: str) -> None:
    with pytest.raises(errors.Unavailable, match=r"agent\.sock"):
        hook_socket.check(path)
    with listening(path):
        hook_socket.check(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert os.listdir(os.path.dirname(path)) == []


def test_what_a_killed_process_left_is_replaced(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with listening(path):
        hook_socket.check(path)


def test_anothers_is_left_alone(path: str) -> None:
    with listening(path):
        with refused("another agent"), listening(path):
            pass
        hook_socket.check(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with refused("another process"), listening(path):
            pass
        hook_socket.check(path)


def test_what_is_no_socket_is_left_alone(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    Path(path).touch()
    with refused("not a socket"), listening(path):
        pass
    assert Path(path).is_file()


def test_a_folder_that_others_can_change_is_refused(path: str) -> None:
    os.mkdir(os.path.dirname(path))
    os.chmod(os.path.dirname(path), 0o777)  # noqa: S103 - refused
    with (
        pytest.raises(errors.Unavailable, match="mode 777"),
        listening(path),
    ):
        pass


def test_a_successors_socket_is_not_removed(path: str) -> None:
    with listening(path):
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
    assert os.path.exists(path)


def test_another_user_is_told_from_this_one(path: str, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root becomes another user")
    with listening(path) as listener:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            own, _ = listener.accept()
        with own:
            assert hook_socket.is_own_user(own)
        handle = os.open(path, os.O_PATH)
        os.chmod(path, 0o666)  # noqa: S103 - its folder is closed
        child = os.fork()
        if not child:
            status = 1
            try:
                os.setuid(65534)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"/proc/self/fd/{handle}")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        other, _ = listener.accept()
        with other:
            assert not hook_socket.is_own_user(other)
        os.close(handle)


@pytest.fixture
def pair(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[socket.socket, Conversation]]:
    monkeypatch.setattr(hook_socket, "_REQUEST_S", 0.2)
    monkeypatch.setattr(hook_socket, "_CALLER_S", 0.2)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Conversation(theirs)


def encoded(words: bytes, text: bytes) -> bytes:
    sizes = len(words).to_bytes(4, "big") + len(text).to_bytes(4, "big")
    return sizes + words + text


def test_a_request(pair: tuple[socket.socket, Conversation]) -> None:
    client, conversation = pair
    client.sendall(encoded(b"--\0M\xfcller\0prepare", b"<domain/>"))
    assert conversation.request() == Request(
        ("--", "M\udcfcller", "prepare"), b"<domain/>"
    )
    conversation.begin(6.5)
    conversation.answer(1, b"no\n")
    assert client.recv(100) == b"L\0\0\0\x036.5A\0\0\0\x041no\n"


@pytest.mark.parametrize("data", [b"", b"\0" * 7, encoded(b"ab", b"c")[:-1]])
def test_a_request_that_never_ends(
    pair: tuple[socket.socket, Conversation], data: bytes
) -> None:
    client, conversation = pair
    client.sendall(data)
    with pytest.raises(ClientGone):
        conversation.request()


@pytest.mark.parametrize("sizes", [b"\0\1\0\1\0\0\0\0", b"\0" * 4 + b"\2" * 4])
def test_a_request_that_is_too_long(
    pair: tuple[socket.socket, Conversation], sizes: bytes
) -> None:
    client, conversation = pair
    client.sendall(sizes)
    with pytest.raises(ValueError, match="too long"):
        conversation.request()


def test_who_waits_for_the_hook_is_asked_for(
    pair: tuple[socket.socket, Conversation],
) -> None:
    client, conversation = pair
    client.sendall(b"+")
    conversation.require_caller()
    with pytest.raises(errors.Refused, match="nothing more was claimed"):
        conversation.require_caller()
    client.close()
    with pytest.raises(errors.Refused, match="has ended"):
        conversation.require_caller()
    with pytest.raises(ClientGone):
        conversation.answer(0, b"")

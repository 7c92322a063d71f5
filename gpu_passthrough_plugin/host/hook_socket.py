"""The socket on which the agent answers the libvirt hook.

A request is the hook's words and the domain's XML; ``hook_client`` has the
other side.  Only processes of the same user, root, are listened to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import posixpath
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.domain_xml import MAX_BYTES
from gpu_passthrough_plugin.host.ownership import make_private

# Who waits longer than this to be accepted goes on without the agent.
_BACKLOG = 16
_REQUEST_S = 2.0
_CALLER_S = 2.0
_SEND_S = 2.0
_MAX_WORDS = 1 << 16
_CHUNK = 1 << 20
# Source: unix(7), SO_PEERCRED: pid, uid, gid.
_PEER = struct.Struct("iII")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class ClientGone(BaseException):
    """Who asked does not wait any more.

    No ``Exception``: what is done for a guest must not take it for a fault.
    """


class Request(NamedTuple):
    """What the hook asks.

    :param words: its own arguments, as it was called with them.
    :param text: the domain's XML.
    """

    words: tuple[str, ...]
    text: bytes


@contextlib.contextmanager
def listening(path: str, *, is_alone: bool = True) -> Iterator[socket.socket]:
    """Listen on a socket in a folder that only this user can change.

    A socket that a dead process left there is replaced.

    :param is_alone: whether to lock its folder, for one agent a host.
    :raises Refused: when another process listens there, or something else
        than a socket is in its place.
    :raises Unavailable: when the folder or the socket cannot be made.
    """
    folder_path, name = posixpath.split(path)
    with contextlib.ExitStack() as stack:
        try:
            make_private(folder_path)
            folder = _opened(folder_path)
            stack.callback(os.close, folder)
            if is_alone and not _is_locked(folder):
                raise errors.Refused(f"another agent listens at {path}")
            _remove_stale(folder, path)
            # Short, however long the folder's name is; and the same folder.
            place = f"/proc/self/fd/{folder}/{name}"
            listener = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            )
            mask = os.umask(0o177)
            try:
                listener.bind(place)
            finally:
                os.umask(mask)
            own = os.stat(name, dir_fd=folder, follow_symlinks=False)
            stack.callback(_remove, folder, name, own)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise errors.Unavailable(
                f"cannot listen at {path}: {error.strerror}"
            ) from error
        yield listener


def check(path: str) -> None:
    """Raise if nobody listens on a socket.

    :raises Unavailable: with the reason.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_SEND_S)
        try:
            client.connect(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise errors.Unavailable(
                f"nobody answers the libvirt hook at {path}: {reason}"
            ) from error


def _opened(path: str) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(path, flags)
    status = os.fstat(folder)
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        os.close(folder)
        raise errors.Unavailable(
            f"{path} belongs to user {status.st_uid} and has mode"
            f" {stat.S_IMODE(status.st_mode):o}; expected a folder of user"
            f" {os.geteuid()} that others cannot write to; remove it, and"
            " start the agent again"
        )
    return folder


def _is_locked(folder: int) -> bool:
    """Lock the folder for as long as it is open; return whether it was free.

    The kernel releases the lock of a process that was killed.
    """
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_stale(folder: int, path: str) -> None:
    """Remove the socket of a process that was killed.

    :raises Refused: when something else is there, or a process listens.
    """
    name = posixpath.basename(path)
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise errors.Refused(
            f"{path} is not a socket; remove it, and start the agent again"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_SEND_S)
        try:
            client.connect(f"/proc/self/fd/{folder}/{name}")
        except ConnectionRefusedError:
            os.unlink(name, dir_fd=folder)
            return
    raise errors.Refused(f"another process listens at {path}")


def _remove(folder: int, name: str, own: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if os.path.samestat(status, own):
            os.unlink(name, dir_fd=folder)


def is_own_user(connection: socket.socket) -> bool:
    """Return whether the process on the other side is of this user."""
    try:
        peer = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size
        )
    except OSError:
        return False
    _, uid, _ = _PEER.unpack(peer)
    return bool(uid == os.geteuid())


class Conversation:
    """One request, and what is said until it is answered.

    Each step has a time limit.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def request(self) -> Request:
        """Return the request.

        :raises ClientGone: when it does not come in time, or whole.
        :raises ValueError: when it is malformed, or too long.
        """
        deadline = time.monotonic() + _REQUEST_S
        sizes = self._receive(8, deadline)
        words_size = int.from_bytes(sizes[:4], "big")
        text_size = int.from_bytes(sizes[4:], "big")
        if words_size > _MAX_WORDS or text_size > MAX_BYTES + 1:
            raise ValueError("it is too long")
        words = self._receive(words_size, deadline)
        text = self._receive(text_size, deadline)
        return Request(
            tuple(os.fsdecode(word) for word in words.split(b"\0")), text
        )

    def begin(self, limit_s: float) -> None:
        """Say within how many seconds the answer comes.

        :raises ClientGone: when nobody waits.
        """
        self._send(b"L", f"{limit_s:g}".encode())

    def require_caller(self) -> None:
        """Raise if who called the hook has ended.

        :raises Refused: when it has, or the hook itself was killed.
        """
        try:
            self._send(b"?", b"")
            self._receive(1, time.monotonic() + _CALLER_S)
        except ClientGone as error:
            raise errors.Refused(
                "the process that called the hook has ended; nothing more was"
                " claimed for the guest; start it again"
            ) from error

    def answer(self, status: int, message: bytes) -> None:
        """Answer with an exit status and a message for the caller.

        :raises ClientGone: when nobody waits.
        """
        self._send(b"A", b"%d" % status + message)

    def _send(self, kind: bytes, body: bytes) -> None:
        self._connection.settimeout(_SEND_S)
        try:
            self._connection.sendall(
                kind + len(body).to_bytes(4, "big") + body
            )
        except OSError as error:
            raise ClientGone from error

    def _receive(self, size: int, deadline: float) -> bytes:
        chunks, left = [], size
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while left:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise ClientGone
            try:
                chunk = self._connection.recv(min(left, _CHUNK))
            except OSError as error:
                raise ClientGone from error
            if not chunk:
                raise ClientGone
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)

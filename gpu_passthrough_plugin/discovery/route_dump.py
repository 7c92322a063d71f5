"""Ask the running kernel for the routes of the host's network namespace."""

from __future__ import annotations

import errno
import os

# Importing socket takes as long as listing a small host: 8 ms, this 0.4.
from _socket import (
    AF_NETLINK,
    SOCK_CLOEXEC,
    SOCK_RAW,
    if_nameindex,
    socket,
)
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from gpu_passthrough_plugin.formats import rtnetlink
from gpu_passthrough_plugin.formats.rtnetlink import Message
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    encoded,
)

_NETLINK_ROUTE = 0
_CLONE_NEWNET = 0x40000000
# The kernel fills datagrams of up to 32 KiB.
_DATAGRAM = 1 << 16
_TIMEOUT_S = 10
# A daemon may change routes during a dump.  What stands in any of several
# dumps is taken: a route too many costs nothing.
_ATTEMPTS = 3


class Connection(Protocol):
    """A socket to the kernel."""

    def send(self, data: bytes, /) -> int:
        """Send a request."""

    def recv(self, size: int, /) -> bytes:
        """Return the next datagram."""

    def close(self) -> None:
        """Give the socket back."""


class Dump(NamedTuple):
    """The messages of routes and next hops, and interfaces by index."""

    messages: list[Message]
    names: dict[int, str]


def read(proc: str = "/proc") -> bytes | Unknown:
    """Return what ``rtnetlink.printed`` makes of the host's routes.

    ``Unknown`` where the kernel does not answer, or where this process is
    in a container's namespace and may not enter the host's.

    :param proc: where the kernel shows its processes.
    """
    try:
        if is_host_namespace(proc):
            routes, names = _dump()
        else:
            routes, names = _in_namespace(f"{proc}/1/ns/net")
        return encoded(rtnetlink.printed(routes, names)) if routes else MISSING
    except OSError as error:
        return Unknown(Why.UNREADABLE, error.strerror or str(error))
    except ValueError as error:
        return Unknown(Why.MALFORMED, str(error))


def is_host_namespace(proc: str) -> bool:
    """Return whether this process is in the first one's network namespace.

    False where nothing shows it.  The link to a namespace is closed to plain
    users, and to root where it may not trace the first process; the table
    of routes is open, and is another file in each namespace.
    Source: Linux, fs/proc/generic.c (proc_register), fs/proc/proc_net.c.
    """
    try:
        first, own = (
            os.stat(f"{proc}/{process}/net/route") for process in ("1", "self")
        )
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (own.st_dev, own.st_ino)


def _in_namespace(path: str) -> Dump:
    """Return the dump of another network namespace.

    In a thread of its own, which ends there: this one stays where it is.

    :raises OSError: when it may not be entered.
    """
    # Only a container needs it.
    import threading

    outcome: list[Dump | OSError | ValueError] = []

    def run() -> None:
        try:
            _enter(path)
            outcome.append(_dump())
        except (OSError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if not outcome:
        raise OSError(errno.ECANCELED, "the dump of routes was not finished")
    if not isinstance(outcome[0], Dump):
        raise outcome[0]
    return outcome[0]


def _enter(path: str) -> None:
    """Move this thread to a network namespace.

    :raises OSError: when that is not allowed.
    """
    # Only a container needs it; os.setns is there from Python 3.12 on.
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "setns"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if library.setns(namespace, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(namespace)


def _dump() -> Dump:
    """Return the routes of this thread's namespace; names are read last."""
    return Dump(messages(_connected), dict(if_nameindex()))


def _connected() -> Connection:
    connection = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    connection.settimeout(_TIMEOUT_S)
    return connection


def messages(connect: Callable[[], Connection]) -> list[Message]:
    """Return the messages of the dumps of routes and of next hops.

    Next hops are asked for after the routes that name them.

    :param connect: opens a socket to the kernel.
    :raises OSError: when the kernel refuses a dump, a dump fails, or the
        routes change during each one.
    :raises ValueError: when a datagram is damaged.
    """
    dump: list[Message] = []
    for _ in range(_ATTEMPTS):
        latest = [
            *_answers(connect, rtnetlink.GET_ROUTES),
            *_answers(connect, rtnetlink.GET_NEXT_HOPS),
        ]
        dump += [message for message in latest if not message.is_last]
        if not any(message.is_interrupted for message in latest):
            return dump
    raise OSError(
        errno.EAGAIN, f"the routes changed during {_ATTEMPTS} dumps of them"
    )


def _answers(
    connect: Callable[[], Connection], kind: int
) -> Iterator[Message]:
    """Yield a dump's messages, the last one too: it may be interrupted.

    :raises OSError: when the kernel refuses the dump, or it fails.
    """
    connection = connect()
    try:
        connection.send(rtnetlink.request(kind, 1))
        while True:
            data = connection.recv(_DATAGRAM)
            if not data:
                raise OSError(errno.EIO, "the kernel ended a dump of routes")
            for message in rtnetlink.messages(data):
                number = message.error
                if number and not _is_without_next_hops(kind, number):
                    raise OSError(number, os.strerror(number))
                yield message
                if message.is_last:
                    return
    finally:
        connection.close()


def _is_without_next_hops(kind: int, number: int) -> bool:
    """Return whether a kernel before Linux 5.3 says: no such objects."""
    return kind == rtnetlink.GET_NEXT_HOPS and number == errno.EOPNOTSUPP

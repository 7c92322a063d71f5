"""Ask the running kernel for the routes of the host's network namespace."""

from __future__ import annotations

import os

# Importing socket takes as long as listing a small host: 8 ms, this 0.4.
from _socket import (
    AF_NETLINK,
    SOCK_CLOEXEC,
    SOCK_RAW,
    if_nameindex,
    socket,
)
from collections.abc import Iterator

from gpu_passthrough_plugin.formats import rtnetlink
from gpu_passthrough_plugin.formats.rtnetlink import Message
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    encoded,
)

# The first process is in the host's namespace wherever this one runs.
_HOST_NAMESPACE, _OWN_NAMESPACE = "/proc/1/ns/net", "/proc/self/ns/net"
# Equal in one namespace, and different in two: an interface has an address
# of its own.
_TABLES = ("route", "if_inet6")
_NETLINK_ROUTE = 0
_CLONE_NEWNET = 0x40000000
# The kernel fills datagrams of up to 32 KiB.
_DATAGRAM = 1 << 16
_TIMEOUT_S = 10
# A daemon may change routes during a dump.  What stands in any of several
# dumps is taken: a route too many costs nothing.
_ATTEMPTS = 3


def read() -> bytes | Unknown:
    """Return what ``rtnetlink.printed`` makes of the host's routes.

    ``Unknown`` where the kernel does not answer, or where this process is
    in a container's namespace and may not enter the host's.
    """
    try:
        dump, names = _in_host_namespace()
    except (AttributeError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Unknown(Why.UNREADABLE, reason)
    except ValueError as error:
        return Unknown(Why.MALFORMED, str(error))
    if not dump:
        return MISSING
    try:
        return encoded(rtnetlink.printed(dump, names))
    except ValueError as error:
        return Unknown(Why.MALFORMED, str(error))


def _in_host_namespace() -> tuple[list[Message], dict[int, str]]:
    if _is_host_namespace():
        return _dumped()
    host = os.open(_HOST_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        own = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(host)
            try:
                return _dumped()
            finally:
                _enter(own)
        finally:
            os.close(own)
    finally:
        os.close(host)


def _is_host_namespace() -> bool:
    """Return whether this process is in the first one's network namespace.

    The link to a namespace is closed to plain users, and to root where it
    may not trace the first process; the tables are open.
    """
    try:
        return os.readlink(_HOST_NAMESPACE) == os.readlink(_OWN_NAMESPACE)
    except OSError:
        return all(
            _table("1", name) in {None, _table("self", name)}
            for name in _TABLES
        )


def _table(process: str, name: str) -> bytes | None:
    try:
        with open(f"/proc/{process}/net/{name}", "rb") as file:
            return file.read()
    except OSError:
        return None


def _enter(namespace: int) -> None:
    """Move this thread to a network namespace.

    :raises OSError: when that is not allowed.
    """
    # Only a container needs it; os.setns is there from Python 3.12 on.
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _dumped() -> tuple[list[Message], dict[int, str]]:
    """Return the messages of routes and next hops, and interfaces' names.

    Next hops are asked for after the routes that name them, and names last.
    """
    dump: list[Message] = []
    for _ in range(_ATTEMPTS):
        latest = [
            *_answers(rtnetlink.GET_ROUTES),
            *_answers(rtnetlink.GET_NEXT_HOPS),
        ]
        dump += latest
        if not any(message.is_interrupted for message in latest):
            break
    return dump, dict(if_nameindex())


def _answers(kind: int) -> Iterator[Message]:
    """Yield a dump's messages; none where the kernel refuses it.

    A kernel before Linux 5.3 has no next hop objects.

    :raises OSError: when the kernel refuses the dump of routes.
    """
    connection = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.send(rtnetlink.request(kind, 1))
        while True:
            data = connection.recv(_DATAGRAM)
            for message in rtnetlink.messages(data):
                if message.error and kind == rtnetlink.GET_ROUTES:
                    raise OSError(message.error, os.strerror(message.error))
                if message.is_last:
                    return
                yield message
    finally:
        connection.close()

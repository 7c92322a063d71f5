"""Dumps of routes that fail, are interrupted, or are another namespace's."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery import route_dump
from gpu_passthrough_plugin.formats import rtnetlink
from gpu_passthrough_plugin.model.reading import Unknown, Why

ROUTES, NEXT_HOPS = rtnetlink.GET_ROUTES, rtnetlink.GET_NEXT_HOPS
ROUTE, DONE, REFUSED = 24, 3, 2
INTERRUPTED = 0x10
Datagrams = tuple[bytes, ...]


def message(kind: int, flags: int = 2, payload: bytes = b"") -> bytes:
    head = struct.pack("=IHHII", 16 + len(payload), kind, flags, 1, 0)
    return head + payload


def end(kind: int = DONE, number: int = 0, flags: int = 2) -> bytes:
    return message(kind, flags, struct.pack("=i", -number))


ONE_ROUTE = message(ROUTE, payload=b"12345678")
EMPTY = (end(),)
WHOLE = (ONE_ROUTE, *EMPTY)


class Kernel:
    """Answers each request for routes, and for next hops, in turn."""

    def __init__(
        self, *routes: Datagrams, next_hops: Datagrams = EMPTY
    ) -> None:
        self._routes = iter(routes)
        self._next_hops = next_hops
        self._pending: Iterator[bytes] = iter(())
        self.is_open = False

    def connect(self) -> Kernel:
        assert not self.is_open
        self.is_open = True
        return self

    def send(self, data: bytes, /) -> int:
        (kind,) = struct.unpack_from("=H", data, 4)
        datagrams = next(self._routes) if kind == ROUTES else self._next_hops
        self._pending = iter(datagrams)
        return len(data)

    def recv(self, size: int, /) -> bytes:
        del size
        return next(self._pending, b"")

    def close(self) -> None:
        self.is_open = False


def kinds(kernel: Kernel) -> list[int]:
    dump = route_dump.messages(kernel.connect)
    assert not kernel.is_open
    return [part.kind for part in dump]


def test_a_whole_dump() -> None:
    assert kinds(Kernel(WHOLE)) == [ROUTE]
    assert kinds(Kernel((ONE_ROUTE + ONE_ROUTE, ONE_ROUTE + end()))) == (
        [ROUTE] * 3
    )


@pytest.mark.parametrize(
    ("last", "number"),
    [
        (end(DONE, errno.ENOBUFS), errno.ENOBUFS),
        (end(REFUSED, errno.EPERM), errno.EPERM),
        (end(REFUSED, errno.EOPNOTSUPP), errno.EOPNOTSUPP),
        (b"", errno.EIO),
    ],
)
def test_a_dump_of_routes_that_fails(last: bytes, number: int) -> None:
    kernel = Kernel((ONE_ROUTE, last))
    with pytest.raises(OSError, match=r".") as caught:
        route_dump.messages(kernel.connect)
    assert caught.value.errno == number
    assert not kernel.is_open


def test_a_kernel_without_next_hop_objects() -> None:
    refused = (end(REFUSED, errno.EOPNOTSUPP),)
    assert kinds(Kernel(WHOLE, next_hops=refused)) == [ROUTE]


@pytest.mark.parametrize(
    "last", [end(REFUSED, errno.EPERM), end(DONE, errno.EMSGSIZE)]
)
def test_next_hops_that_are_refused(last: bytes) -> None:
    with pytest.raises(OSError, match=r"."):
        route_dump.messages(Kernel(WHOLE, next_hops=(last,)).connect)


@pytest.mark.parametrize(
    "interrupted",
    [
        (message(ROUTE, INTERRUPTED), end()),
        (ONE_ROUTE, end(flags=INTERRUPTED)),
    ],
)
def test_an_interrupted_dump_is_repeated(interrupted: Datagrams) -> None:
    assert kinds(Kernel(interrupted, WHOLE)) == [ROUTE] * 2
    assert kinds(Kernel(interrupted, interrupted, WHOLE)) == [ROUTE] * 3
    with pytest.raises(OSError, match="3 dumps"):
        route_dump.messages(Kernel(*[interrupted] * 3).connect)


def test_damaged_datagrams() -> None:
    with pytest.raises(ValueError, match="netlink"):
        route_dump.messages(Kernel((b"abc",)).connect)
    with pytest.raises(ValueError, match="netlink"):
        route_dump.messages(Kernel((message(DONE),)).connect)


def processes(folder: Path, *, is_same: bool) -> str:
    """Return a /proc with the tables of routes of two processes."""
    for name in ("1", "self"):
        (folder / name / "net").mkdir(parents=True)
    table = folder / "1" / "net" / "route"
    table.write_text("Iface\tDestination\n")
    own = folder / "self" / "net" / "route"
    if is_same:
        own.hardlink_to(table)
    else:
        own.write_text("Iface\tDestination\n")
    return str(folder)


def test_namespaces_are_told_apart(tmp_path: Path) -> None:
    """Tables of the same text may be those of two namespaces."""
    same = processes(tmp_path / "same", is_same=True)
    assert route_dump.is_host_namespace(same)
    two = processes(tmp_path / "two", is_same=False)
    assert not route_dump.is_host_namespace(two)


@pytest.mark.parametrize("name", ["1", "self", ""])
def test_a_closed_process_is_in_an_unknown_namespace(
    tmp_path: Path, name: str
) -> None:
    proc = Path(processes(tmp_path / "proc", is_same=True))
    for process in (name,) if name else ("1", "self"):
        (proc / process / "net" / "route").unlink()
    assert not route_dump.is_host_namespace(str(proc))
    dump = route_dump.read(str(proc))
    assert dump == Unknown(Why.UNREADABLE, os.strerror(errno.ENOENT))


def test_a_namespace_that_cannot_be_entered(tmp_path: Path) -> None:
    proc = Path(processes(tmp_path / "proc", is_same=False))
    (proc / "1" / "ns").mkdir()
    (proc / "1" / "ns" / "net").write_text("no namespace")
    own = os.readlink("/proc/thread-self/ns/net")
    assert route_dump.read(str(proc)) == Unknown(
        Why.UNREADABLE, os.strerror(errno.EINVAL)
    )
    assert os.readlink("/proc/thread-self/ns/net") == own

"""Which next hops the host's routes have: the kernel's dumps over netlink.

Unlike ``/proc/net/route``, a dump has every next hop of a multipath route,
whatever family its gateway is of, and next hop objects.  ``printed`` is the
form in which a recording keeps them; ``formats.routes`` parses that.

Source: Linux, include/uapi/linux/{netlink,rtnetlink,nexthop}.h;
net/ipv4/fib_semantics.c (fib_dump_info), net/ipv6/route.c
(rt6_fill_node), net/ipv4/nexthop.c (nh_fill_node).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

PATH = "rtnetlink/routes"
"""Where a tree has what ``printed`` returns; no kernel has such a file."""

GET_ROUTES, GET_NEXT_HOPS = 26, 106
_NEW_ROUTE, _NEW_NEXT_HOP = 24, 104
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x001 | 0x300
_DUMP_INTERRUPTED = 0x10
_HEADER = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXT_HOP = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR_NUMBER = struct.Struct("=i")
_PATH = struct.Struct("=HBBi")
_MEMBER = struct.Struct("=IBBH")
# Of an attribute's type: without the flags of nested and big-endian ones.
_TYPE = 0x3FFF
_DESTINATION, _INTERFACE, _MULTIPATH, _TABLE, _NEXT_HOP_ID = 1, 4, 9, 15, 30
_ID, _GROUP, _HOP_INTERFACE = 1, 2, 5
_UNICAST, _CLONED = 1, 0x200
_FAMILIES = {2: "inet", 10: "inet6"}


class Message(NamedTuple):
    """One message of a dump, without its header."""

    kind: int
    flags: int
    payload: bytes

    @property
    def is_last(self) -> bool:
        """Whether the dump ends here, complete or refused."""
        return self.kind in {_DONE, _ERROR}

    @property
    def is_interrupted(self) -> bool:
        """Whether the kernel's tables changed during the dump."""
        return bool(self.flags & _DUMP_INTERRUPTED)

    @property
    def error(self) -> int:
        """The error number with which a dump was refused or failed, or 0.

        A dump that fails after its first datagrams still ends as done.

        :raises ValueError: when the message is too short to have one.
            Source: Linux, net/netlink/af_netlink.c (netlink_dump_done);
            iproute2, lib/libnetlink.c (rtnl_dump_done).
        """
        if not self.is_last:
            return 0
        number = _unpacked(_ERROR_NUMBER, self.payload, 0)[0]
        return -number


def request(kind: int, sequence: int) -> bytes:
    """Return the request for a dump of all routes or next hop objects.

    :param kind: GET_ROUTES or GET_NEXT_HOPS.
    """
    body = _ROUTE if kind == GET_ROUTES else _NEXT_HOP
    length = _HEADER.size + body.size
    header = _HEADER.pack(length, kind, _REQUEST_DUMP, sequence, 0)
    return header + bytes(body.size)


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram from the kernel.

    :raises ValueError: when it is damaged.
    """
    at = 0
    while at < len(data):
        length, kind, flags, _, _ = _unpacked(_HEADER, data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise ValueError(f"a netlink message of {length} bytes")
        yield Message(kind, flags, data[at + _HEADER.size : at + length])
        at += _aligned(length)


def printed(dump: Iterable[Message], names: Mapping[int, str]) -> str:
    """Return a line for each next hop of each route, in the dump's order.

    Such as ``inet 192.0.2.0/24 dev eno1 table 254``, or with ``default``
    for the destination.  Without routes that reject packets, and without
    those to the host's own addresses.

    :param dump: of the routes, and of the next hop objects that they name.
    :param names: of the interfaces, by index.
    :raises ValueError: when it is damaged, or a route has no next hop.
    """
    dump = tuple(dump)
    objects = dict(
        _next_hop_object(message.payload)
        for message in dump
        if message.kind == _NEW_NEXT_HOP
    )
    lines: dict[str, None] = {}
    for message in dump:
        if message.kind != _NEW_ROUTE:
            continue
        for destination, table, index in _next_hops(message.payload, objects):
            name = names.get(index, f"if{index}")
            lines[f"{destination} dev {name} table {table}"] = None
    return "".join(f"{line}\n" for line in lines)


class _Object(NamedTuple):
    """A next hop object: an interface's index (0: none), or others' ids."""

    interface: int
    members: tuple[int, ...]


def _next_hop_object(payload: bytes) -> tuple[int, _Object]:
    attributes = dict(_attributes(payload, _NEXT_HOP.size))
    group = attributes.get(_GROUP, b"")
    members = tuple(
        _unpacked(_MEMBER, group, at)[0]
        for at in range(0, len(group), _MEMBER.size)
    )
    interface = _number(attributes.get(_HOP_INTERFACE, bytes(4)))
    return _number(attributes.get(_ID, b"")), _Object(interface, members)


def _next_hops(
    payload: bytes, objects: Mapping[int, _Object]
) -> Iterator[tuple[str, int, int]]:
    """Yield destination, table and interface of each next hop of a route."""
    fields = _unpacked(_ROUTE, payload, 0)
    family, length, table, kind, flags = (fields[n] for n in (0, 1, 4, 7, 8))
    if family not in _FAMILIES or kind != _UNICAST or flags & _CLONED:
        return
    attributes = dict(_attributes(payload, _ROUTE.size))
    destination = _destination(family, attributes.get(_DESTINATION), length)
    if _TABLE in attributes:
        table = _number(attributes[_TABLE])
    indexes = [*_path_indexes(attributes.get(_MULTIPATH, b""))]
    if _INTERFACE in attributes:
        indexes.append(_number(attributes[_INTERFACE]))
    if _NEXT_HOP_ID in attributes:
        number = _number(attributes[_NEXT_HOP_ID])
        indexes += _object_indexes(number, objects, bool(indexes))
    elif not indexes:
        raise ValueError(f"the route {destination} has no next hop")
    for index in dict.fromkeys(indexes):
        yield destination, table, index


def _object_indexes(
    number: int, objects: Mapping[int, _Object], is_expanded: bool
) -> list[int]:
    """Return the interfaces of a next hop object.

    :param is_expanded: whether the route names its interfaces as well, as
        it does unless net.ipv4.nexthop_compat_mode is 0.
    """
    if number not in objects:
        if is_expanded:
            return []
        raise ValueError(f"next hop {number} of a route is not in the dump")
    # A group's members are no groups.
    # Source: Linux, net/ipv4/nexthop.c (valid_group_nh).
    numbers = objects[number].members or (number,)
    if not objects.keys() >= {*numbers}:
        raise ValueError(f"next hop {number} has a member not in the dump")
    # A blackhole has no interface.
    return [objects[n].interface for n in numbers if objects[n].interface]


def _path_indexes(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        length, _, _, index = _unpacked(_PATH, data, at)
        if length < _PATH.size:
            raise ValueError(f"a next hop of {length} bytes")
        yield index
        at += _aligned(length)


def _attributes(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        length, kind = _unpacked(_ATTRIBUTE, data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise ValueError(f"a netlink attribute of {length} bytes")
        yield kind & _TYPE, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _destination(family: int, address: bytes | None, length: int) -> str:
    name = _FAMILIES[family]
    if not length:
        return f"{name} default"
    size = 4 if name == "inet" else 16
    if address is None or len(address) != size:
        raise ValueError(f"a route of family {name} without a destination")
    if name == "inet":
        return f"{name} {'.'.join(map(str, address))}/{length}"
    groups = struct.unpack(">8H", address)
    return f"{name} {':'.join(f'{group:x}' for group in groups)}/{length}"


def _unpacked(form: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    try:
        return form.unpack_from(data, at)
    except struct.error as error:
        raise ValueError(f"a netlink message ends early: {error}") from None


def _number(data: bytes) -> int:
    if len(data) != 4:
        raise ValueError(f"a number of {len(data)} bytes in netlink")
    return int(struct.unpack("=I", data)[0])


def _aligned(length: int) -> int:
    return (length + 3) & ~3

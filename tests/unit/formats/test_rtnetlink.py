"""Dumps of routes and next hop objects, as the kernel writes them."""

from __future__ import annotations

import random
import struct

import pytest

from gpu_passthrough_plugin.formats import rtnetlink
from gpu_passthrough_plugin.formats.rtnetlink import Message

NAMES = {1: "lo", 2: "swp1", 3: "swp2"}
IPV4, IPV6 = 2, 10
UNICAST, LOCAL, BLACKHOLE = 1, 2, 6
DST, OIF, GATEWAY, MULTIPATH, TABLE, VIA, NH_ID = 1, 4, 5, 9, 15, 18, 30
# An IPv6 gateway of an IPv4 route: family 10, then the address.
INET6_GATEWAY = struct.pack("=H", IPV6) + bytes(16)


def attribute(kind: int, value: bytes | int) -> bytes:
    data = struct.pack("=I", value) if isinstance(value, int) else value
    padding = bytes(-len(data) % 4)
    return struct.pack("=HH", 4 + len(data), kind) + data + padding


def route(
    *attributes: bytes,
    family: int = IPV4,
    length: int = 0,
    kind: int = UNICAST,
    flags: int = 0,
) -> Message:
    head = struct.pack(
        "=BBBBBBBBI", family, length, 0, 0, 254, 186, 0, kind, flags
    )
    return Message(24, 2, head + b"".join(attributes))


def hop(index: int, *attributes: bytes) -> bytes:
    inner = b"".join(attributes)
    return struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner


def next_hop(number: int, *attributes: bytes) -> Message:
    return Message(
        104, 2, bytes(8) + attribute(1, number) + b"".join(attributes)
    )


def group(number: int, *members: int) -> Message:
    data = b"".join(struct.pack("=IBBH", n, 0, 0, 0) for n in members)
    return next_hop(number, attribute(2, data))


def printed(*dump: Message) -> list[str]:
    return rtnetlink.printed(dump, NAMES).splitlines()


def test_every_next_hop_of_a_multipath_route() -> None:
    """FRR's routes of BGP unnumbered: zebra-rs/zebra-rs#1354."""
    hops = hop(2, attribute(VIA, INET6_GATEWAY)) + hop(3)
    assert printed(route(attribute(MULTIPATH, hops))) == [
        "inet default dev swp1 table 254",
        "inet default dev swp2 table 254",
    ]


def test_destinations_and_tables() -> None:
    net = bytes([198, 51, 100, 0])
    wide = bytes.fromhex("20010db8" + "0" * 24)
    assert printed(
        route(attribute(DST, net), attribute(OIF, 2), length=24),
        route(attribute(DST, wide), attribute(OIF, 3), family=10, length=32),
        route(attribute(OIF, 3), attribute(TABLE, 51820)),
        route(attribute(OIF, 7), family=10),
    ) == [
        "inet 198.51.100.0/24 dev swp1 table 254",
        "inet6 2001:db8:0:0:0:0:0:0/32 dev swp2 table 254",
        "inet default dev swp2 table 51820",
        "inet6 default dev if7 table 254",
    ]


def test_next_hop_objects() -> None:
    assert printed(
        route(attribute(NH_ID, 42)),
        route(attribute(NH_ID, 1), attribute(OIF, 2), family=10),
        route(attribute(NH_ID, 9), attribute(OIF, 2), flags=0x200),
        group(42, 1, 2),
        next_hop(1, attribute(5, 2)),
        next_hop(2, attribute(5, 3)),
    ) == [
        "inet default dev swp1 table 254",
        "inet default dev swp2 table 254",
        "inet6 default dev swp1 table 254",
    ]


def test_a_next_hop_that_drops_packets_has_no_interface() -> None:
    assert (
        printed(route(attribute(NH_ID, 5)), next_hop(5, attribute(4, b"")))
        == []
    )


def test_a_route_names_its_interfaces_where_the_object_came_later() -> None:
    assert printed(route(attribute(NH_ID, 9), attribute(OIF, 3))) == [
        "inet default dev swp2 table 254"
    ]


@pytest.mark.parametrize(
    "other",
    [
        route(attribute(OIF, 2), kind=LOCAL),
        route(kind=BLACKHOLE),
        route(attribute(OIF, 2), family=28),
        route(attribute(OIF, 2), family=IPV6, flags=0x200),
        Message(3, 2, bytes(4)),
    ],
)
def test_what_is_no_route_of_packets_is_passed_over(other: Message) -> None:
    assert printed(other) == []


@pytest.mark.parametrize(
    "dump",
    [
        (route(),),
        (route(attribute(NH_ID, 42)),),
        (route(attribute(NH_ID, 42)), group(42, 1)),
        (route(attribute(OIF, 2), length=24),),
        (route(attribute(OIF, b"\2")),),
        (route(attribute(MULTIPATH, bytes(8))),),
        (route(attribute(MULTIPATH, b"\1")),),
        (Message(24, 2, bytes(3)),),
        (route(b"\xff\xff\0\0"),),
        (group(42, 1), next_hop(1), Message(104, 2, bytes(8))),
    ],
)
def test_a_dump_that_is_damaged_or_incomplete_is_refused(
    dump: tuple[Message, ...],
) -> None:
    with pytest.raises(ValueError, match=r"route|next hop|netlink"):
        printed(*dump)


def test_datagrams() -> None:
    body = b"abcde"
    message = struct.pack("=IHHII", 16 + len(body), 24, 0x12, 1, 0) + body
    last = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, 0)
    first, done = rtnetlink.messages(message + bytes(3) + last)
    assert (first.kind, first.payload, first.error) == (24, body, 0)
    assert (first.is_interrupted, first.is_last) == (True, False)
    assert (done.is_interrupted, done.is_last) == (False, True)
    refused = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -95)
    (message_of_error,) = rtnetlink.messages(refused)
    assert (message_of_error.error, message_of_error.is_last) == (95, True)


def test_a_dump_that_failed_ends_as_done() -> None:
    failed = struct.pack("=IHHIIi", 20, 3, 2, 1, 0, -105)
    (message,) = rtnetlink.messages(failed)
    assert (message.error, message.is_last) == (105, True)


@pytest.mark.parametrize("kind", [2, 3])
def test_an_end_without_its_error_number_is_refused(kind: int) -> None:
    (message,) = rtnetlink.messages(struct.pack("=IHHII", 16, kind, 2, 1, 0))
    with pytest.raises(ValueError, match="ends early"):
        _ = message.error


@pytest.mark.parametrize("data", [b"abc", bytes(16), b"\xff" * 16])
def test_a_damaged_datagram_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="netlink"):
        list(rtnetlink.messages(data))


def test_requests_ask_for_everything() -> None:
    for kind, size in (
        (rtnetlink.GET_ROUTES, 28),
        (rtnetlink.GET_NEXT_HOPS, 24),
    ):
        data = rtnetlink.request(kind, 7)
        length, sent, flags, sequence, _ = struct.unpack_from("=IHHII", data)
        assert (length, sent, sequence) == (len(data), kind, 7)
        assert (len(data), flags) == (size, 0x301)


@pytest.mark.parametrize("seed", range(20))
def test_any_bytes_are_read_or_refused(seed: int) -> None:
    drawn = random.Random(seed)  # noqa: S311 - a test input
    whole = route(
        attribute(MULTIPATH, hop(2) + hop(3)), attribute(NH_ID, 42)
    ).payload
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(drawn.randint(1, 4)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        cut = bytes(data[: drawn.randint(1, len(data))])
        try:
            lines = printed(Message(24, 2, cut))
        except ValueError:
            continue
        assert all(line.startswith("inet") for line in lines)

"""Which interfaces the host's routes use: ``/proc/net/route``, ``ipv6_route``.

IPv4's main table and every IPv6 table, as the kernel shows them there; of a
multipath route IPv4 shows the first next hop only.
Source: Linux, net/ipv4/fib_trie.c (fib_route_seq_show), net/ipv6/route.c
(rt6_info_route); include/uapi/linux/route.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_UP, _REJECT = 0x0001, 0x0200
_ZEROS = "0" * 32
# The loopback interface, and what the kernel shows for a route without an
# interface: it drops packets (blackhole), and is not flagged as rejecting.
_NO_DEVICE = frozenset({"lo", "*"})
# Every interface that is up has link-local and multicast routes.
# Source: RFC 4291, 2.4.
_EVERY_LINK = ("fe8", "fe9", "fea", "feb", "ff")


class Route(NamedTuple):
    """A route that is up and does not reject packets.

    :param line: the line of the kernel's table, unchanged.
    """

    interface: str
    is_default: bool
    line: str


def parse_ipv4(table: str) -> Iterator[Route]:
    """Yield the routes of ``/proc/net/route``, without those over ``lo``.

    Columns: interface, destination, gateway, flags, …, mask (the 8th).

    :raises ValueError: when a line has other columns.
    """
    for line in table.split("\n")[1:]:
        words = line.split()
        if not words:
            continue
        if len(words) < 8:
            raise ValueError(f"{line!r} has {len(words)} columns")
        if _is_active(words[3]) and words[0] not in _NO_DEVICE:
            is_default = int(words[1], 16) == int(words[7], 16) == 0
            yield Route(words[0], is_default, line)


def parse_ipv6(table: str) -> Iterator[Route]:
    """Yield the routes of ``/proc/net/ipv6_route``.

    Without those over ``lo``, and without the link-local and multicast ones
    that every interface has.

    Columns: destination, its prefix, …, flags (the 9th), interface.

    :raises ValueError: when a line has other columns.
    """
    for line in table.split("\n"):
        words = line.split()
        if not words:
            continue
        if len(words) < 10:
            raise ValueError(f"{line!r} has {len(words)} columns")
        if not _is_active(words[8]) or words[9] in _NO_DEVICE:
            continue
        is_default = words[0] == _ZEROS and int(words[1], 16) == 0
        if not words[0].startswith(_EVERY_LINK):
            yield Route(words[9], is_default, line)


def _is_active(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP

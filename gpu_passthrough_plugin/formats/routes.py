"""Which interfaces the host's routes use, as the kernel shows them.

``/proc/net/route`` has IPv4's main table, and of a multipath route the first
next hop only; ``/proc/net/ipv6_route`` has every IPv6 table.  What
``formats.rtnetlink`` prints has all tables and next hops of both.

Source: Linux, net/ipv4/fib_trie.c (fib_route_seq_show), net/ipv6/route.c
(rt6_info_route); include/uapi/linux/route.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

_UP, _REJECT = 0x0001, 0x0200
_ZEROS = "0" * 32
# The loopback interface, and what the kernel shows for a route without an
# interface: it drops packets (blackhole), and is not flagged as rejecting.
_NO_DEVICE = frozenset({"lo", "*"})
# Every interface that is up has link-local and multicast routes.
# Source: RFC 4291, 2.4.
_EVERY_LINK = ("fe8", "fe9", "fea", "feb", "ff")
# The table that a route is in unless one is named.
# Source: Linux, include/uapi/linux/rtnetlink.h (RT_TABLE_MAIN).
_MAIN = "254"
_DEFAULTS = {"inet": "0.0.0.0/0", "inet6": "::/0"}


class Route(NamedTuple):
    """One next hop of a route that is up and does not reject packets.

    :param is_default: whether it is a default route of the main table.
    :param destination: such as ``192.0.2.0/24`` or ``::/0``.
    :param line: the line of the kernel's table, unchanged.
    """

    interface: str
    is_default: bool
    destination: str
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
            network, mask = _number(words[1]), _number(words[7])
            # The kernel writes numbers of its CPU, and few are big-endian.
            octets = ".".join(map(str, network.to_bytes(4, "little")))
            yield Route(
                words[0],
                network == mask == 0,
                f"{octets}/{mask.bit_count()}",
                line,
            )


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
        length = int(words[1], 16)
        is_default = words[0] == _ZEROS and length == 0
        if not words[0].startswith(_EVERY_LINK):
            destination = f"{_groups(words[0])}/{length}"
            yield Route(words[9], is_default, destination, line)


def links_up(table: str) -> tuple[str, ...]:
    """Return the interfaces with link-local routes: those that are up.

    :param table: ``/proc/net/ipv6_route``; damaged lines are passed over.
    """
    rows = [line.split() for line in table.split("\n")]
    names = (
        row[9]
        for row in rows
        if len(row) > 9 and row[0].startswith(_EVERY_LINK)
    )
    return tuple(dict.fromkeys(name for name in names if name != "lo"))


def parse_next_hops(text: str) -> Iterator[Route]:
    """Yield the next hops of what ``rtnetlink.printed`` returned.

    Without those over ``lo``, and without IPv6's link-local and multicast
    routes, which every interface has.

    :raises ValueError: when a line has other words.
    """
    for line in text.split("\n"):
        if not line:
            continue
        words = line.split(" ")
        if len(words) != 6 or (words[2], words[4]) != ("dev", "table"):
            raise ValueError(f"{line!r} is not a line of routes")
        family, destination, _, interface, _, table = words
        if family not in _DEFAULTS:
            raise ValueError(f"{line!r} has another family of addresses")
        is_default = destination == "default"
        first_group = destination.partition(":")[0].zfill(4)
        is_of_every_link = family == "inet6" and first_group.startswith(
            _EVERY_LINK
        )
        if interface == "lo" or is_of_every_link:
            continue
        yield Route(
            interface,
            is_default and table == _MAIN,
            _DEFAULTS[family] if is_default else destination,
            line,
        )


class RouteIndex:
    """Next hops by destination, to look up those to an address.

    :raises ValueError: when a destination is not a network.
    """

    def __init__(self, table: Iterable[Route]) -> None:
        # It takes as long to import as to list a small host, and only disks
        # on a network need it.
        import ipaddress

        self._parse = ipaddress.ip_address
        self._hops: dict[tuple[int, int], dict[int, list[Route]]] = {}
        for route in table:
            network = ipaddress.ip_network(route.destination, strict=False)
            length = network.version, network.prefixlen
            networks = self._hops.setdefault(length, {})
            first = int(network.network_address)
            networks.setdefault(first, []).append(route)

    def towards(self, address: str) -> tuple[Route, ...]:
        """Return the next hops of the most specific routes to an address.

        Of all tables, as if no rule chose among them; empty without a
        route.

        :raises ValueError: when it is not an IP address.
        """
        peer = self._parse(address)
        for version, length in sorted(self._hops, reverse=True):
            if version == peer.version:
                shift = peer.max_prefixlen - length
                network = int(peer) >> shift << shift
                hops = self._hops[version, length].get(network)
                if hops:
                    return tuple(hops)
        return ()


def _number(digits: str) -> int:
    number = int(digits, 16)
    if not 0 <= number < 1 << 32:
        raise ValueError(f"{digits!r} is not a number of 32 bits")
    return number


def _groups(digits: str) -> str:
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))


def _is_active(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP

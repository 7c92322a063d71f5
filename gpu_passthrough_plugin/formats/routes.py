"""Interfaces that the host's routes go over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.model.reading import decoded

# Source: Linux, include/uapi/linux/route.h.
_UP, _REJECT = 0x0001, 0x0200
_ZEROS = "0" * 32
# Every interface that is up has these: link-local and multicast.
# Source: RFC 4291, 2.4.
_OF_EVERY_LINK = ("fe8", "fe9", "fea", "feb", "ff")


class Route(NamedTuple):
    """One that is up and rejects nothing.

    :param line: of the kernel's table, as it is.
    """

    interface: str
    is_default: bool
    line: str


def routes4(table: bytes) -> Iterator[Route]:
    """The routes of ``/proc/net/route``.

    Columns: interface, destination, gateway, flags, …, mask (the 8th).

    :raises ValueError: when a line has other columns.
    """
    for line in decoded(table).split("\n")[1:]:
        words = line.split()
        if words and _is_active(words[3]) and words[0] != "lo":
            is_default = int(words[1], 16) == int(words[7], 16) == 0
            yield Route(words[0], is_default, line)


def routes6(table: bytes) -> Iterator[Route]:
    """The routes of ``/proc/net/ipv6_route``.

    Columns: destination, its prefix, …, flags (the 9th), interface.

    :raises ValueError: when a line has other columns.
    """
    for line in decoded(table).split("\n"):
        words = line.split()
        if not words or not _is_active(words[8]) or words[9] == "lo":
            continue
        is_default = words[0] == _ZEROS and int(words[1], 16) == 0
        if not words[0].startswith(_OF_EVERY_LINK):
            yield Route(words[9], is_default, line)


def _is_active(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP

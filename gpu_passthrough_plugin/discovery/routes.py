"""Interfaces that the host's default routes go over."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery.tree import Tree, decoded
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

# The first process is in the host's namespace wherever this one is; its
# files may be closed to us.
_FOLDERS = ("proc/1/net", "proc/net")
# Source: Linux, include/uapi/linux/route.h.
_UP, _REJECT = 0x0001, 0x0200
_ZEROS = "0" * 32


def default_interfaces(tree: Tree) -> tuple[str, ...] | Unknown:
    """Names, sorted; none for a host without a default route.

    IPv4's main table and all of IPv6's: the kernel shows no more here.
    A kernel without IPv6 has no file for it.
    """
    ipv4, ipv6 = _table(tree, "route"), _table(tree, "ipv6_route")
    if isinstance(ipv4, Unknown):
        return Unknown(ipv4.why, f"{_FOLDERS[-1]}/route: {ipv4}")
    if isinstance(ipv6, Unknown):
        if ipv6 is not MISSING:
            return Unknown(ipv6.why, f"{_FOLDERS[-1]}/ipv6_route: {ipv6}")
        ipv6 = b""
    try:
        found = {
            *map(_interface4, default_lines4(ipv4)),
            *map(_interface6, default_lines6(ipv6)),
        }
    except (ValueError, IndexError) as error:
        return Unknown(Why.MALFORMED, f"a table of routes: {error}")
    return tuple(sorted(found - {"lo"}))


def _table(tree: Tree, name: str) -> bytes | Unknown:
    data: bytes | Unknown = MISSING
    for folder in _FOLDERS:
        data = tree.read(f"{folder}/{name}")
        if not isinstance(data, Unknown):
            return data
    return data


def default_lines4(table: bytes) -> list[str]:
    """Lines of ``/proc/net/route`` with a default route.

    Columns: interface, destination, gateway, flags, …, mask (the 8th).

    :raises ValueError: when a line has other columns.
    """
    return [
        line
        for line in decoded(table).split("\n")[1:]
        if line.strip() and _is_default4(line.split())
    ]


def _is_default4(words: list[str]) -> bool:
    flags = int(words[3], 16)
    return (
        int(words[1], 16) == int(words[7], 16) == 0
        and bool(flags & _UP)
        and not flags & _REJECT
    )


def default_lines6(table: bytes) -> list[str]:
    """Lines of ``/proc/net/ipv6_route`` with a default route.

    Columns: destination, its prefix, …, flags (the 9th), interface.

    :raises ValueError: when a line has other columns.
    """
    return [
        line
        for line in decoded(table).split("\n")
        if line.strip() and _is_default6(line.split())
    ]


def _is_default6(words: list[str]) -> bool:
    flags = int(words[8], 16)
    return (
        words[0] == _ZEROS
        and int(words[1], 16) == 0
        and bool(flags & _UP)
        and not flags & _REJECT
    )


def _interface4(line: str) -> str:
    return line.split()[0]


def _interface6(line: str) -> str:
    return line.split()[9]

"""What is mounted and swapped to, and on which block devices."""

from __future__ import annotations

import re
from typing import NamedTuple

from gpu_passthrough_plugin.model.reading import Unknown, Why, decoded

# File systems over several block devices have numbers of their own.
POOLED = frozenset({"btrfs", "zfs", "bcachefs"})
# A root that has its files from other mounts, seen or not.
_HIDING = frozenset({"overlay", "aufs", "fuse-overlayfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")


class Source(NamedTuple):
    """A block device that the host uses, and how an operator calls it.

    :param what: such as ``mount / (/dev/sda2)``.
    :param number: ``MAJOR:MINOR``; empty where only ``name`` tells.
    :param name: what is mounted, such as ``/dev/sda2`` or ``rpool/ROOT``.
    :param kind: the file system, or ``swap``.
    """

    what: str
    number: str
    name: str
    kind: str


def is_networked(table: bytes) -> bool:
    """Whether the root is one that no disk is under: NFS, or memory."""
    for line in decoded(table).split("\n"):
        before, _, after = line.partition(" - ")
        words = before.split(" ")
        if len(words) > 4 and words[4] == "/":
            return after.split(" ")[0] not in _HIDING
    return False


def mounted(line: str) -> Source | Unknown | None:
    """None for what is on no block device.

    Source: proc(5): id, parent, number, root, mount point, options,
    optional fields up to ``-``, file system, source, its options.
    """
    before, dash, after = line.partition(" - ")
    words, rest = before.split(" "), after.split(" ")
    if not dash or len(words) < 6 or len(rest) < 2:
        return Unknown(Why.MALFORMED, f"proc/self/mountinfo: {line}")
    number, point = words[2], _plain(words[4])
    kind, name = rest[0], _plain(rest[1])
    what = f"mount {point} ({name})"
    if kind in POOLED:
        return Source(what, "", name, kind)
    if number.startswith("0:"):
        return None
    return Source(what, number, name, kind)


def swapped(table: bytes) -> list[Source]:
    """Partitions: a swap file's disk is mounted.  Source: proc(5)."""
    rows = [line.split() for line in decoded(table).split("\n")[1:]]
    return [
        Source(f"swap ({_plain(row[0])})", "", _plain(row[0]), "swap")
        for row in rows
        if len(row) > 1 and row[1] == "partition"
    ]


def _plain(text: str) -> str:
    """The kernel writes blanks and backslashes in octal."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)

"""What is mounted and swapped to: ``/proc/PID/mountinfo`` and ``/proc/swaps``.

Source: Linux, fs/proc_namespace.c (show_mountinfo), mm/swapfile.c
(swap_show); proc(5).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# File systems over several block devices have numbers of their own.
POOLED = frozenset({"btrfs", "zfs", "bcachefs"})
# A root that has its files from other mounts, seen or not.
_STACKED = frozenset({"overlay", "aufs", "fuse-overlayfs"})
_OCTAL = re.compile(r"\\([0-7]{3})")
# Options that name another block device: of XFS its log and its realtime
# section, of ReiserFS its journal.  Source: Linux, fs/xfs/xfs_super.c
# (xfs_fs_show_options), fs/reiserfs/super.c (reiserfs_show_options).
_DEVICE_OPTIONS = frozenset({"logdev", "rtdev", "jdev"})


class Mount(NamedTuple):
    """One mounted file system.

    :param number: ``MAJOR:MINOR`` of its device.
    :param point: where it is mounted.
    :param kind: the file system's type, such as ``ext4``.
    :param name: what is mounted, such as ``/dev/sda2``; empty for what the
        kernel shows no name of.
    :param devices: options that name further devices of the file system,
        such as ``logdev=/dev/sdb1``, as the kernel escapes them.
    """

    number: str
    point: str
    kind: str
    name: str
    devices: tuple[str, ...] = ()

    @property
    def is_on_block_device(self) -> bool:
        """Return whether it is on a block device, or a pool of them.

        The kernel numbers what is on none ``0:…``, and pools as well.
        """
        return self.kind in POOLED or not self.number.startswith("0:")

    @property
    def is_stacked(self) -> bool:
        """Return whether its files come from other mounts, listed or not."""
        return self.kind in _STACKED


def parse_line(line: str) -> Mount:
    """Return the mount of one line of ``mountinfo``.

    Fields: id, parent, number, root, mount point, options, optional fields
    up to ``-``, file system, name, its options.

    :raises ValueError: when the line has other fields.
    """
    before, dash, after = line.partition(" - ")
    words, rest = before.split(" "), after.split(" ")
    if not dash or len(words) < 6 or len(rest) < 2:
        raise ValueError(f"{line!r} is not a line of mountinfo")
    options = rest[2].split(",") if len(rest) > 2 else ()
    return Mount(
        words[2],
        unescape(words[4]),
        rest[0],
        unescape(rest[1]),
        tuple(
            option
            for option in options
            if option.partition("=")[0] in _DEVICE_OPTIONS
        ),
    )


def parse(table: str) -> tuple[Mount, ...]:
    """Return the mounts of a ``mountinfo``, in its order.

    :raises ValueError: when a line has other fields.
    """
    return tuple(parse_line(line) for line in table.split("\n") if line)


def swap_partitions(table: str) -> tuple[str, ...]:
    """Return the partitions of ``/proc/swaps``.

    A swap file is not among them: its file system is mounted.
    """
    rows = [line.split() for line in table.split("\n")[1:]]
    return tuple(
        unescape(row[0])
        for row in rows
        if len(row) > 1 and row[1] == "partition"
    )


def unescape(text: str) -> str:
    """Return the text with the kernel's octal escapes replaced.

    It writes blanks, tabs, newlines, backslashes and ``#`` so.
    Source: Linux, lib/string_helpers.c (string_escape_mem, ESCAPE_OCTAL).
    """
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)

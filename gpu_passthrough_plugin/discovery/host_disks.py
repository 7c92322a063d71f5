"""Which PCI functions are below the host's mounted disks and swap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.discovery import block_devices, network_disks
from gpu_passthrough_plugin.discovery.block_devices import BlockDevices
from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import mountinfo, sysfs_path
from gpu_passthrough_plugin.formats.mountinfo import Mount
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    known,
)

# The first process has the host's own mounts, wherever this one runs.
_MOUNTS = ("proc/1/mountinfo", "proc/self/mountinfo")
_SWAPS = "proc/swaps"
_CONTROLLER = re.compile(r"nvme[0-9]+")
_BLOCKS = re.compile(r"/(?:block|nvme|nvme-subsystem|nvme-fabrics/ctl)/")
_VIRTUAL_DISK = re.compile(r".*/virtual/block/([^/]+)")
# A whole disk that has no device below it, by what it has instead: memory;
# or a network, whose every route is followed for its own sake.
_DISKS_OF_MEMORY = re.compile(r"(?:ram|nullb|pmem)[0-9]+")
_DISKS_OF_ROUTES = re.compile(r"(?:nbd|rbd)[0-9]+")
# A copy of what a disk here has; the kernel does not show which disk.
_DISKS_OF_ANY = re.compile(r"drbd[0-9]+")
_ZFS_VOLUME = re.compile(r"zd[0-9]+")
# Each journal of ext4 and OCFS2: sda1-8 for the one in inode 8, and sdb1 for
# one that has that device for itself.
# Source: Linux, fs/jbd2/journal.c (jbd2_journal_init_dev).
_JOURNALS = "proc/fs/jbd2"
# More than any host has on one another, and altogether; a stranger's recording
# may have them in a circle, or lead from each to each.
_MOST_STACKED, _MOST_VISITS = 64, 100_000

Chain = tuple[str, ...]
"""Names of block devices, from a whole disk up to what is mounted."""


class Source(NamedTuple):
    """A block device that the host uses, and what an operator calls it.

    :param what: such as ``mount / (/dev/sda2)``.
    :param number: ``MAJOR:MINOR``; empty where only ``name`` identifies it.
    :param name: what is mounted, such as ``/dev/sda2`` or ``rpool/ROOT``.
    :param kind: the file system, or ``swap``.
    """

    what: str
    number: str
    name: str
    kind: str


def sources(tree: Tree) -> tuple[Source, ...] | Unknown:
    """Return every block device that is mounted or swapped to, once each.

    With the devices of logs and journals that are not on the disk of their
    file system.  ``Unknown`` when the mounts, the journals or the swaps
    cannot be read.  A kernel may be without journals and swap.
    """
    mounts = _mounts(tree)
    if isinstance(mounts, Unknown):
        return mounts.at(_MOUNTS[-1])
    disks: dict[tuple[str, str], Source] = {}
    for mount in mounts:
        if mount.is_on_block_device:
            for source in _sources(mount):
                disks.setdefault((source.number, source.name), source)
    if not disks and not _has_diskless_root(mounts):
        return Unknown(
            Why.MALFORMED,
            f"{_MOUNTS[-1]} names no disk: these are a container's mounts",
        )
    swaps = text(tree, _SWAPS)
    if isinstance(swaps, Unknown) and swaps is not MISSING:
        return swaps.at(_SWAPS)
    journals = _journals(tree)
    if isinstance(journals, Unknown):
        return journals.at(_JOURNALS)
    swapped = (
        Source(f"swap ({name})", "", name, "swap")
        for name in mountinfo.swap_partitions(known(swaps) or "")
    )
    return (*disks.values(), *journals, *swapped)


class HostDisks:
    """The host's block devices, each table of them read once."""

    def __init__(self, network: HostNetwork) -> None:
        self._network = network
        self._tree = network.tree
        self._blocks = BlockDevices(network.tree)
        self._visits = 0

    def functions(self, source: Source) -> Mapping[Address, Chain] | Unknown:
        """Return the functions that the disks of ``source`` are on.

        Each with the names of the devices that lead from it up to the
        source: through partitions, device mapper, MD, bcache, NVMe
        multipath, loop devices, and the interfaces to a disk on a network.
        None for a device on a bus other than PCI, or for one that is
        unplugged; ``Unknown`` for one that lies on nothing known.
        """
        members = self._members(source)
        if isinstance(members, Unknown):
            return members
        steps: list[tuple[str | Unknown, Chain]]
        steps = [(member, ()) for member in members]
        chains: dict[Address, Chain] = {}
        seen: set[str] = set()
        while steps:
            path, above = steps.pop()
            if isinstance(path, Unknown):
                return path
            if path in seen:
                continue
            seen.add(path)
            below = self._below(path, len(above))
            if isinstance(below, Unknown):
                return below
            reached, lower = below
            chain = (*_names(self._tree, path), *above)
            for address, interfaces in reached.items():
                chains.setdefault(address, (*interfaces, *chain))
            steps += [(step, chain) for step in lower]
        return chains

    def _members(self, source: Source) -> list[str | Unknown] | Unknown:
        """Return the paths of the block devices that a source is."""
        if source.kind in mountinfo.POOLED:
            names = self._blocks.members(source.kind, source.name)
            if isinstance(names, Unknown):
                return names
            return [self._blocks.named(name) for name in names]
        if source.number:
            return [self._blocks.numbered(source.number)]
        return [self._blocks.named(source.name)]

    def _below(
        self, path: str, depth: int
    ) -> tuple[Mapping[Address, Chain], list[str | Unknown]] | Unknown:
        """Return the functions that a device is on, and the devices below.

        Of the functions, those on its path, and with their interfaces those
        to a disk on a network.
        """
        self._visits += 1
        if depth > _MOST_STACKED or self._visits > _MOST_VISITS:
            return Unknown(Why.MALFORMED, f"too many devices over {path}")
        reached: dict[Address, Chain] = {
            address: () for address in sysfs_path.endpoints(path)
        }
        remote = network_disks.functions(self._network, path)
        if isinstance(remote, Unknown):
            return remote
        if remote is not None:
            return {**remote, **reached}, []
        lower = self._lower(path)
        return lower if isinstance(lower, Unknown) else (reached, lower)

    def _lower(self, path: str) -> list[str | Unknown] | Unknown:
        """Return the paths of the devices that this one is made of.

        A partition of a virtual disk is made of what its disk is made of.
        """
        disk = _VIRTUAL_DISK.match(path)
        folder = f"{disk[0] if disk else path}/slaves"
        slaves = self._tree.names(folder)
        if isinstance(slaves, Unknown) and slaves is not MISSING:
            return slaves.at(folder)
        lower: list[str | Unknown] = [
            self._tree.real(f"{folder}/{name}") for name in known(slaves) or ()
        ]
        if "/nvme-subsystem/" in f"{path.rpartition('/')[0]}/":
            lower += _controllers(self._tree, path)
            if not lower:
                return Unknown(Why.MISSING, f"{path} has no NVMe controller")
        if disk and not lower:
            return self._beneath(disk[0], disk[1])
        return lower

    def _beneath(
        self, folder: str, name: str
    ) -> list[str | Unknown] | Unknown:
        """Return the paths below a virtual disk that names them otherwise."""
        if _DISKS_OF_MEMORY.fullmatch(name) or _DISKS_OF_ROUTES.fullmatch(
            name
        ):
            return []
        if name.startswith(("loop", "zram")):
            return self._backing(folder, name)
        if _DISKS_OF_ANY.fullmatch(name):
            return self._blocks.physical()
        if _ZFS_VOLUME.fullmatch(name):
            # Which pool it is of is not shown: it may be any.
            members = self._blocks.zfs_members()
            if isinstance(members, Unknown):
                return members.at(name)
            return [self._blocks.named(member) for member in members]
        return Unknown(
            Why.MISSING, f"{name} is virtual, and nothing is below it"
        )

    def _backing(
        self, folder: str, name: str
    ) -> list[str | Unknown] | Unknown:
        """Return the path of the disk that a loop or zram device is on.

        None for one on a file, whose file system is mounted and followed for
        its own sake, and for zram in memory alone: some kernels have no file
        for its disk.
        """
        is_loop = name.startswith("loop")
        file = f"{folder}/{'loop/backing_file' if is_loop else 'backing_dev'}"
        backing = text(self._tree, file)
        if isinstance(backing, Unknown):
            is_memory = backing is MISSING and not is_loop
            return [] if is_memory else Unknown(backing.why, file)
        return (
            [self._blocks.named(backing)]
            if backing.startswith("/dev/")
            else []
        )


def _mounts(tree: Tree) -> tuple[Mount, ...] | Unknown:
    table: str | Unknown = MISSING
    for path in _MOUNTS:
        table = text(tree, path)
        if not isinstance(table, Unknown):
            break
    if isinstance(table, Unknown):
        return table
    try:
        return mountinfo.parse(table)
    except ValueError as error:
        return Unknown(Why.MALFORMED, str(error))


def _sources(mount: Mount) -> Iterator[Source]:
    """Yield a mount's device, and those that its options name."""
    number = "" if mount.kind in mountinfo.POOLED else mount.number
    what = f"mount {mount.point} ({mount.name})"
    yield Source(what, number, mount.name, mount.kind)
    for option in mount.devices:
        name = mountinfo.unescape(option.partition("=")[2])
        yield Source(f"{what}, {option}", "", name, "log")


def _journals(tree: Tree) -> list[Source] | Unknown:
    """Return the devices that are journals and nothing else."""
    names = tree.names(_JOURNALS)
    if isinstance(names, Unknown):
        return [] if names is MISSING else names
    journals = []
    for name in names:
        link = tree.link(f"{block_devices.BY_NAME}/{name}")
        if isinstance(link, Unknown):
            return link
        if link is not None:
            what = f"journal of a file system ({name})"
            journals.append(Source(what, "", name, "journal"))
    return journals


def _has_diskless_root(mounts: tuple[Mount, ...]) -> bool:
    """Return whether the root is on the network or in memory."""
    root = next((mount for mount in mounts if mount.point == "/"), None)
    return root is not None and not root.is_stacked


def _names(tree: Tree, path: str) -> Chain:
    """Return the block devices on a path, the whole disk first.

    A mapped device by the name that LVM or multipath gave it.
    """
    names = _BLOCKS.split(path)[-1].split("/")
    if names[0].startswith("dm-"):
        mapped = text(tree, f"{path}/dm/name")
        return (names[0] if isinstance(mapped, Unknown) else mapped,)
    return tuple(names)


def _controllers(tree: Tree, path: str) -> list[str | Unknown]:
    """Return the controllers of an NVMe namespace with several paths."""
    head, _, rest = path.partition("/nvme-subsystem/")
    subsystem = f"{head}/nvme-subsystem/{rest.partition('/')[0]}"
    names = tree.names(subsystem)
    return [
        tree.real(f"{subsystem}/{name}")
        for name in (() if isinstance(names, Unknown) else names)
        if _CONTROLLER.fullmatch(name)
    ]

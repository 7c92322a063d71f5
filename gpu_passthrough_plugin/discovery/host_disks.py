"""Which PCI functions are below the host's mounted disks and swap."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.discovery import network_disks
from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, mountinfo, sysfs_path
from gpu_passthrough_plugin.formats.mountinfo import Mount
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    decoded,
)

# The first process has the host's own mounts, wherever this one runs.
_MOUNTS = ("proc/1/mountinfo", "proc/self/mountinfo")
_SWAPS = "proc/swaps"
_BY_NUMBER, _BY_NAME = "sys/dev/block", "sys/class/block"
_BTRFS = "sys/fs/btrfs"
_UDEV = "run/udev/data"
_CONTROLLER = re.compile(r"nvme[0-9]+")
_BLOCKS = re.compile(r"/(?:block|nvme|nvme-subsystem|nvme-fabrics/ctl)/")
_VIRTUAL_DISK = re.compile(r".*/virtual/block/([^/]+)")
# A whole disk that has no device below it, by what it has instead: memory;
# or a network, whose every route is followed for its own sake.
_DISKS_OF_MEMORY = re.compile(r"(?:ram|nullb|pmem)[0-9]+")
_DISKS_OF_ROUTES = re.compile(r"(?:nbd|rbd|drbd)[0-9]+")
_ZFS_VOLUME = re.compile(r"zd[0-9]+")

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

    ``Unknown`` when the mounts cannot be read.  A kernel without swap has
    no file for it.
    """
    mounts = _mounts(tree)
    if isinstance(mounts, Unknown):
        return Unknown(mounts.why, f"{_MOUNTS[-1]}: {mounts}")
    disks: dict[tuple[str, str], Source] = {}
    for mount in mounts:
        if mount.is_on_block_device:
            source = _source(mount)
            disks.setdefault((source.number, source.name), source)
    if not disks and not _has_diskless_root(mounts):
        return Unknown(
            Why.MALFORMED,
            f"{_MOUNTS[-1]} names no disk: these are a container's mounts",
        )
    swaps = text(tree, _SWAPS)
    if isinstance(swaps, Unknown):
        if swaps is not MISSING:
            return Unknown(swaps.why, f"{_SWAPS}: {swaps}")
        return tuple(disks.values())
    swapped = (
        Source(f"swap ({name})", "", name, "swap")
        for name in mountinfo.swap_partitions(swaps)
    )
    return (*disks.values(), *swapped)


def functions(
    network: HostNetwork, source: Source
) -> Mapping[Address, Chain] | Unknown:
    """Return the functions that the disks of ``source`` are on.

    Each with the names of the devices that lead from it up to the source:
    through partitions, device mapper, MD, bcache, NVMe multipath, loop
    devices, and the interfaces to a disk on a network.  None for a device
    on a bus other than PCI, or for one that is unplugged; ``Unknown`` for
    one that lies on nothing known.
    """
    tree = network.tree
    steps: list[tuple[str | Unknown, Chain]] = []
    if source.kind in mountinfo.POOLED:
        members = _pool_members(tree, source)
        if isinstance(members, Unknown):
            return members
        steps = [(_named(tree, name), ()) for name in members]
    elif source.number:
        steps = [(_numbered(tree, source.number), ())]
    else:
        steps = [(_named(tree, source.name), ())]
    chains: dict[Address, Chain] = {}
    seen: set[str] = set()
    while steps:
        path, above = steps.pop()
        if isinstance(path, Unknown):
            return path
        if path in seen:
            continue
        seen.add(path)
        below = _below(network, path)
        if isinstance(below, Unknown):
            return below
        reached, lower = below
        chain = (*_names(tree, path), *above)
        for address, interfaces in reached.items():
            chains.setdefault(address, (*interfaces, *chain))
        steps += [(step, chain) for step in lower]
    return chains


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


def _source(mount: Mount) -> Source:
    number = "" if mount.kind in mountinfo.POOLED else mount.number
    what = f"mount {mount.point} ({mount.name})"
    return Source(what, number, mount.name, mount.kind)


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


def _below(
    network: HostNetwork, path: str
) -> tuple[Mapping[Address, Chain], list[str | Unknown]] | Unknown:
    """Return the functions that a device is on, and the devices it is on.

    Of the functions, those on its path, and with their interfaces those to
    a disk on a network.
    """
    reached: dict[Address, Chain] = {
        address: () for address in sysfs_path.endpoints(path)
    }
    remote = network_disks.functions(network, path)
    if isinstance(remote, Unknown):
        return remote
    if remote is not None:
        return {**remote, **reached}, []
    lower = _lower(network.tree, path)
    return lower if isinstance(lower, Unknown) else (reached, lower)


def _lower(tree: Tree, path: str) -> list[str | Unknown] | Unknown:
    """Return the paths of the devices that this one is made of.

    A partition of a virtual disk is made of what its disk is made of.
    """
    disk = _VIRTUAL_DISK.match(path)
    folder = disk[0] if disk else path
    slaves = tree.names(f"{folder}/slaves")
    lower: list[str | Unknown] = []
    if not isinstance(slaves, Unknown):
        lower += [tree.real(f"{folder}/slaves/{slave}") for slave in slaves]
    if "/nvme-subsystem/" in f"{path.rpartition('/')[0]}/":
        lower += _controllers(tree, path)
        if not lower:
            return Unknown(Why.MISSING, f"{path} has no NVMe controller")
    if disk and not lower:
        return _beneath(tree, disk[0], disk[1])
    return lower


def _beneath(
    tree: Tree, folder: str, name: str
) -> list[str | Unknown] | Unknown:
    """Return the paths below a virtual disk that names them otherwise."""
    if _DISKS_OF_MEMORY.fullmatch(name) or _DISKS_OF_ROUTES.fullmatch(name):
        return []
    if name.startswith(("loop", "zram")):
        file = "loop/backing_file" if name[0] == "l" else "backing_dev"
        backing = text(tree, f"{folder}/{file}")
        # A file's file system is mounted, and followed for its own sake.
        is_disk = isinstance(backing, str) and backing.startswith("/dev/")
        return [_named(tree, str(backing))] if is_disk else []
    if _ZFS_VOLUME.fullmatch(name):
        members = _zfs_members(tree, "")
        if isinstance(members, Unknown):
            return members
        return [_named(tree, member) for member in members]
    return Unknown(Why.MISSING, f"{name} is virtual, and nothing is below it")


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


def _numbered(tree: Tree, number: str) -> str | Unknown:
    """Return a device's path; empty for one unplugged while mounted."""
    link = tree.link(f"{_BY_NUMBER}/{number}")
    if isinstance(link, Unknown):
        return link
    if link is None:
        numbers = tree.names(_BY_NUMBER)
        return numbers if isinstance(numbers, Unknown) else ""
    return tree.real(f"{_BY_NUMBER}/{number}")


def _named(tree: Tree, name: str) -> str | Unknown:
    """Return the path of ``/dev/sda2`` or ``/dev/mapper/root``."""
    block = chroot_path.name(name)
    if name.startswith("/dev/mapper/"):
        block = _mapped(tree, block) or block
    if tree.link(f"{_BY_NAME}/{block}") is None:
        return Unknown(Why.MISSING, f"{_BY_NAME}/{block}")
    return tree.real(f"{_BY_NAME}/{block}")


def _mapped(tree: Tree, name: str) -> str:
    """Return ``dm-N`` of a mapped device; empty if there is none."""
    blocks = tree.names(_BY_NAME)
    for block in () if isinstance(blocks, Unknown) else blocks:
        if not block.startswith("dm-"):
            continue
        if text(tree, f"{_BY_NAME}/{block}/dm/name") == name:
            return block
    return ""


def _pool_members(tree: Tree, source: Source) -> tuple[str, ...] | Unknown:
    """Return the block devices of a file system over several of them."""
    if source.kind == "zfs":
        return _zfs_members(tree, source.name.partition("/")[0])
    # bcachefs names all of its devices: /dev/sda:/dev/sdb.
    names = tuple(source.name.split(":"))
    return _btrfs_members(tree, names[0]) if source.kind == "btrfs" else names


def _btrfs_members(tree: Tree, name: str) -> tuple[str, ...]:
    """Return every device of the file system that ``name`` belongs to.

    Source: Linux, fs/btrfs/sysfs.c (``devices``).
    """
    path = _named(tree, name)
    uuids = tree.names(_BTRFS)
    for uuid in () if isinstance(uuids, Unknown) else uuids:
        folder = f"{_BTRFS}/{uuid}/devices"
        devices = tree.names(folder)
        if isinstance(devices, Unknown):
            continue
        if any(tree.real(f"{folder}/{device}") == path for device in devices):
            return tuple(devices)
    return (name,)


def _zfs_members(tree: Tree, pool: str) -> tuple[str, ...] | Unknown:
    """Return the devices that udev found labelled as the pool's.

    ZFS shows them in no file of its own.

    :param pool: empty for every pool's.
    """
    label = {"ID_FS_TYPE=zfs_member"}
    if pool:
        label.add(f"ID_FS_LABEL={pool}")
    blocks = tree.names(_BY_NAME)
    members = tuple(
        block
        for block in (() if isinstance(blocks, Unknown) else blocks)
        if label <= _properties(tree, block)
    )
    return members or Unknown(
        Why.MISSING, f"udev names no disk of the ZFS pool {pool}".rstrip()
    )


def _properties(tree: Tree, block: str) -> set[str]:
    """Return udev's properties, which a recording has in ``uevent``."""
    (uevent, number), _ = tree.gather(f"{_BY_NAME}/{block}", ("uevent", "dev"))
    if isinstance(number, Unknown) or isinstance(uevent, Unknown):
        return set()
    database = text(tree, f"{_UDEV}/b{decoded(number)}")
    lines = decoded(uevent).split("\n")
    if not isinstance(database, Unknown):
        lines += [line[2:] for line in database.split("\n")]
    return set(lines)

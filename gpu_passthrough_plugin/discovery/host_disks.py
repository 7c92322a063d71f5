"""From a block device down to the functions that it is on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, mountinfo, sysfs_path
from gpu_passthrough_plugin.formats.mountinfo import Source
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why, decoded

_CONTROLLER = re.compile(r"nvme[0-9]+")
_BLOCKS = re.compile(r"/(?:block|nvme|nvme-subsystem)/")

Chain = tuple[str, ...]


def functions(tree: Tree, source: Source) -> Mapping[Address, Chain] | Unknown:
    """Functions of the disks below what is mounted or swapped to.

    With the names of the devices that lead from each up to the source.
    Through partitions, device mapper, MD, bcache and NVMe multipath.  None
    for a device on a bus other than PCI, or for one that is gone.
    """
    if source.kind in mountinfo.POOLED:
        members = _pool_members(tree, source)
        if isinstance(members, Unknown):
            return members
        todo = [_named(tree, name) for name in members]
    elif source.number:
        todo = [_numbered(tree, source.number)]
    else:
        todo = [_named(tree, source.name)]
    found: dict[Address, Chain] = {}
    seen: set[str] = set()
    steps: list[tuple[str | Unknown, Chain]] = [(path, ()) for path in todo]
    while steps:
        path, above = steps.pop()
        if isinstance(path, Unknown):
            return path
        if path in seen:
            continue
        seen.add(path)
        chain = (*_names(path), *above)
        for address in sysfs_path.on_path(path):
            found.setdefault(address, chain)
        steps += [(lower, chain) for lower in _lower(tree, path)]
    return found


def _names(path: str) -> Chain:
    """Of the devices on a block device's path, the whole disk first."""
    return tuple(_BLOCKS.split(path)[-1].split("/"))


def _lower(tree: Tree, path: str) -> list[str | Unknown]:
    slaves = tree.names(f"{path}/slaves")
    lower: list[str | Unknown] = []
    if not isinstance(slaves, Unknown):
        lower += [tree.real(f"{path}/slaves/{slave}") for slave in slaves]
    folder = path.rpartition("/")[0]
    if "/nvme-subsystem/" in f"{folder}/":
        lower += _controllers(tree, path)
    return lower


def _controllers(tree: Tree, path: str) -> list[str | Unknown]:
    """Of an NVMe namespace with several paths, that stands above them."""
    head, _, rest = path.partition("/nvme-subsystem/")
    subsystem = f"{head}/nvme-subsystem/{rest.partition('/')[0]}"
    names = tree.names(subsystem)
    return [
        tree.real(f"{subsystem}/{name}")
        for name in (() if isinstance(names, Unknown) else names)
        if _CONTROLLER.fullmatch(name)
    ]


# The first process has the host's own mounts, wherever this one is.
_TABLES = ("proc/1/mountinfo", "proc/self/mountinfo")
_SWAPS = "proc/swaps"


def sources(tree: Tree) -> tuple[Source, ...] | Unknown:
    """Every block device that is mounted or swapped to, once each.

    ``Unknown`` when the mounts cannot be read.  A kernel without swap has
    no file for it.
    """
    table = _mount_table(tree)
    if isinstance(table, Unknown):
        return Unknown(table.why, f"{_TABLES[-1]}: {table}")
    found: dict[tuple[str, str], Source] = {}
    for line in decoded(table).split("\n"):
        if not line:
            continue
        source = mountinfo.mounted(line)
        if isinstance(source, Unknown):
            return source
        if source is not None:
            found.setdefault((source.number, source.name), source)
    if not found and not mountinfo.is_networked(table):
        return Unknown(
            Why.MALFORMED,
            f"{_TABLES[-1]} names no disk: these are a container's mounts",
        )
    swap = tree.read(_SWAPS)
    if isinstance(swap, Unknown):
        if swap is not MISSING:
            return Unknown(swap.why, f"{_SWAPS}: {swap}")
        return tuple(found.values())
    return (*found.values(), *mountinfo.swapped(swap))


def _mount_table(tree: Tree) -> bytes | Unknown:
    data: bytes | Unknown = MISSING
    for path in _TABLES:
        data = tree.read(path)
        if not isinstance(data, Unknown):
            return data
    return data


_NUMBERS = "sys/dev/block"
_CLASS = "sys/class/block"


def _numbered(tree: Tree, number: str) -> str | Unknown:
    """The device's path; empty for one that was unplugged while mounted."""
    link = tree.link(f"{_NUMBERS}/{number}")
    if isinstance(link, Unknown):
        return link
    if link is None:
        known = tree.names(_NUMBERS)
        return known if isinstance(known, Unknown) else ""
    return tree.real(f"{_NUMBERS}/{number}")


def _named(tree: Tree, name: str) -> str | Unknown:
    """The path of ``/dev/sda2`` or ``/dev/mapper/root``."""
    short = chroot_path.name(name)
    if name.startswith("/dev/mapper/"):
        short = _mapped(tree, short) or short
    if tree.link(f"{_CLASS}/{short}") is None:
        return Unknown(Why.MISSING, f"{_CLASS}/{short}")
    return tree.real(f"{_CLASS}/{short}")


def _mapped(tree: Tree, name: str) -> str:
    """``dm-N`` of a mapped device, or nothing."""
    blocks = tree.names(_CLASS)
    for block in () if isinstance(blocks, Unknown) else blocks:
        if not block.startswith("dm-"):
            continue
        if text(tree, f"{_CLASS}/{block}/dm/name") == name:
            return block
    return ""


_BTRFS = "sys/fs/btrfs"
_UDEV = "run/udev/data"


def _pool_members(tree: Tree, source: Source) -> tuple[str, ...] | Unknown:
    """Names of the block devices below a pooled file system."""
    if source.kind == "zfs":
        return _zfs(tree, source.name.partition("/")[0])
    # bcachefs names all of its devices: /dev/sda:/dev/sdb.
    named = tuple(source.name.split(":"))
    return _btrfs(tree, named[0]) if source.kind == "btrfs" else named


def _btrfs(tree: Tree, name: str) -> tuple[str, ...]:
    """Every device of the file system that ``name`` is one of.

    Source: Linux, fs/btrfs/sysfs.c (``devices``).
    """
    where = _named(tree, name)
    identities = tree.names(_BTRFS)
    for uuid in () if isinstance(identities, Unknown) else identities:
        folder = f"{_BTRFS}/{uuid}/devices"
        devices = tree.names(folder)
        if isinstance(devices, Unknown):
            continue
        if any(tree.real(f"{folder}/{one}") == where for one in devices):
            return tuple(devices)
    return (name,)


def _zfs(tree: Tree, pool: str) -> tuple[str, ...] | Unknown:
    """Devices that udev found labelled as the pool's.

    ZFS shows them in no file of its own.
    """
    wanted = {"ID_FS_TYPE=zfs_member", f"ID_FS_LABEL={pool}"}
    names = tree.names(_CLASS)
    found = []
    for block in () if isinstance(names, Unknown) else names:
        if wanted <= _properties(tree, block):
            found.append(block)
    if not found:
        return Unknown(
            Why.MISSING, f"udev names no disk of the ZFS pool {pool}"
        )
    return tuple(found)


def _properties(tree: Tree, block: str) -> set[str]:
    """udev's: in its database, or in a recording with the kernel's."""
    (uevent, number), _ = tree.gather(f"{_CLASS}/{block}", ("uevent", "dev"))
    if isinstance(number, Unknown) or isinstance(uevent, Unknown):
        return set()
    data = tree.read(f"{_UDEV}/b{decoded(number)}")
    lines = decoded(uevent).split("\n")
    if not isinstance(data, Unknown):
        lines += [line[2:] for line in decoded(data).split("\n")]
    return set(lines)

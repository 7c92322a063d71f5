"""Block devices of file systems that spread over several."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import blocks
from gpu_passthrough_plugin.discovery.blocks import BLOCKS
from gpu_passthrough_plugin.discovery.mounts import Source
from gpu_passthrough_plugin.discovery.tree import Tree, decoded
from gpu_passthrough_plugin.model.reading import Unknown, Why

_BTRFS = "sys/fs/btrfs"
_UDEV = "run/udev/data"


def members(tree: Tree, source: Source) -> tuple[str, ...] | Unknown:
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
    where = blocks.named(tree, name)
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
    names = tree.names(BLOCKS)
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
    (uevent, number), _ = tree.gather(f"{BLOCKS}/{block}", ("uevent", "dev"))
    if isinstance(number, Unknown) or isinstance(uevent, Unknown):
        return set()
    data = tree.read(f"{_UDEV}/b{decoded(number)}")
    lines = decoded(uevent).split("\n")
    if not isinstance(data, Unknown):
        lines += [line[2:] for line in decoded(data).split("\n")]
    return set(lines)

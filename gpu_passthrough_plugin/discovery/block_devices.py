"""Which block device a name or number stands for, and those of a pool."""

from __future__ import annotations

import functools

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import Unknown, Why, decoded

_BY_NUMBER, _BY_NAME = "sys/dev/block", "sys/class/block"
_BTRFS = "sys/fs/btrfs"
_UDEV = "run/udev/data"


class BlockDevices:
    """A host's block devices, each table of them read once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def numbered(self, number: str) -> str | Unknown:
        """Return a device's path; empty for one unplugged while mounted."""
        link = self._tree.link(f"{_BY_NUMBER}/{number}")
        if isinstance(link, Unknown):
            return link
        if link is None:
            numbers = self._tree.names(_BY_NUMBER)
            return numbers if isinstance(numbers, Unknown) else ""
        return self._tree.real(f"{_BY_NUMBER}/{number}")

    def named(self, name: str) -> str | Unknown:
        """Return the path of ``/dev/sda2`` or ``/dev/mapper/root``."""
        block = chroot_path.name(name)
        if name.startswith("/dev/mapper/"):
            block = self._mapped.get(block, block)
        if self._tree.link(f"{_BY_NAME}/{block}") is None:
            return Unknown(Why.MISSING, f"{_BY_NAME}/{block}")
        return self._tree.real(f"{_BY_NAME}/{block}")

    def members(self, kind: str, name: str) -> tuple[str, ...] | Unknown:
        """Return the block devices of a file system over several of them."""
        if kind == "zfs":
            pool = name.partition("/")[0]
            return tuple(self.zfs_pools.get(pool, ())) or Unknown(
                Why.MISSING, f"udev names no disk of the ZFS pool {pool}"
            )
        # bcachefs names all of its devices: /dev/sda:/dev/sdb.
        names = tuple(name.split(":"))
        if kind != "btrfs":
            return names
        path = self.named(names[0])
        if isinstance(path, Unknown):
            return names[:1]
        return self._btrfs_members.get(path, names[:1])

    @functools.cached_property
    def _blocks(self) -> tuple[str, ...]:
        blocks = self._tree.names(_BY_NAME)
        return () if isinstance(blocks, Unknown) else blocks

    @functools.cached_property
    def _mapped(self) -> dict[str, str]:
        """``dm-N`` of each mapped device, by its name."""
        mapped: dict[str, str] = {}
        for block in self._blocks:
            if block.startswith("dm-"):
                name = text(self._tree, f"{_BY_NAME}/{block}/dm/name")
                if not isinstance(name, Unknown):
                    mapped.setdefault(name, block)
        return mapped

    @functools.cached_property
    def _btrfs_members(self) -> dict[str, tuple[str, ...]]:
        """All devices of a file system, by the path of each of them.

        Source: Linux, fs/btrfs/sysfs.c (``devices``).
        """
        members: dict[str, tuple[str, ...]] = {}
        uuids = self._tree.names(_BTRFS)
        for uuid in () if isinstance(uuids, Unknown) else uuids:
            folder = f"{_BTRFS}/{uuid}/devices"
            devices = self._tree.names(folder)
            for device in () if isinstance(devices, Unknown) else devices:
                path = self._tree.real(f"{folder}/{device}")
                if isinstance(path, str) and isinstance(devices, tuple):
                    members.setdefault(path, devices)
        return members

    @functools.cached_property
    def zfs_pools(self) -> dict[str, list[str]]:
        """The devices that udev found labelled as each pool's.

        ZFS shows them in no file of its own.
        """
        pools: dict[str, list[str]] = {}
        for block in self._blocks:
            properties = _properties(self._tree, block)
            if "ID_FS_TYPE=zfs_member" in properties:
                labels = [
                    line.removeprefix("ID_FS_LABEL=")
                    for line in properties
                    if line.startswith("ID_FS_LABEL=")
                ]
                for pool in labels or [""]:
                    pools.setdefault(pool, []).append(block)
        return pools


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

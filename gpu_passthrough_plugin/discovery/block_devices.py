"""Which block device a name or number stands for, and those of a pool."""

from __future__ import annotations

import functools

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    decoded,
    known,
)

BY_NAME = "sys/class/block"
_BY_NUMBER = "sys/dev/block"
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
        """Return the path of ``/dev/sda2`` or ``/dev/mapper/root``.

        A further name of a device is a link that udev made.
        """
        block = chroot_path.name(name)
        if name.startswith("/dev/mapper/"):
            mapped = self._mapped
            if isinstance(mapped, Unknown):
                return mapped
            block = mapped.get(block, block)
        elif name.startswith("/dev/"):
            node = self._tree.real(name.removeprefix("/"))
            if isinstance(node, Unknown):
                return node
            # Source: Linux, drivers/base/core.c (device_get_devnode).
            block = node.removeprefix("dev/").replace("/", "!")
        path = f"{BY_NAME}/{block}"
        link = self._tree.link(path)
        if isinstance(link, Unknown):
            return link.at(path)
        if link is None:
            return Unknown(Why.MISSING, path)
        return self._tree.real(path)

    def physical(self) -> list[str | Unknown] | Unknown:
        """Return the paths of the devices that lie on no other one."""
        blocks = self._blocks
        if isinstance(blocks, Unknown):
            return blocks
        paths = [self._tree.real(f"{BY_NAME}/{block}") for block in blocks]
        return [path for path in paths if "/virtual/" not in str(path)]

    def members(self, kind: str, name: str) -> tuple[str, ...] | Unknown:
        """Return the block devices of a file system over several of them."""
        if kind == "zfs":
            return self.zfs_members(name.partition("/")[0])
        # bcachefs names all of its devices: /dev/sda:/dev/sdb.
        names = tuple(name.split(":"))
        if kind != "btrfs":
            return names
        path = self.named(names[0])
        if isinstance(path, Unknown):
            return path
        members = self._btrfs_members
        if isinstance(members, Unknown):
            return members
        return members.get(path, names[:1])

    def zfs_members(
        self, pool: str | None = None
    ) -> tuple[str, ...] | Unknown:
        """Return the block devices of a ZFS pool, or those of any.

        ``Unknown`` when there are none: that udev found none proves nothing.
        """
        pools = self._zfs_pools
        if isinstance(pools, Unknown):
            return pools
        of_any = (member for members in pools.values() for member in members)
        members = of_any if pool is None else pools.get(pool, ())
        which = "a ZFS pool" if pool is None else f"the ZFS pool {pool}"
        return tuple(members) or Unknown(
            Why.MISSING, f"udev names no disk of {which}"
        )

    @functools.cached_property
    def _blocks(self) -> tuple[str, ...] | Unknown:
        return self._tree.names(BY_NAME)

    @functools.cached_property
    def _mapped(self) -> dict[str, str] | Unknown:
        """``dm-N`` of each mapped device, by its name."""
        blocks = self._blocks
        if isinstance(blocks, Unknown):
            return blocks
        mapped: dict[str, str] = {}
        for block in blocks:
            if block.startswith("dm-"):
                path = f"{BY_NAME}/{block}/dm/name"
                name = text(self._tree, path)
                if name is MISSING:
                    continue
                if isinstance(name, Unknown):
                    return name.at(path)
                mapped.setdefault(name, block)
        return mapped

    @functools.cached_property
    def _btrfs_members(self) -> dict[str, tuple[str, ...]] | Unknown:
        """All devices of a file system, by the path of each of them.

        Source: Linux, fs/btrfs/sysfs.c (``devices``).
        """
        members: dict[str, tuple[str, ...]] = {}
        uuids = self._tree.names(_BTRFS)
        if isinstance(uuids, Unknown):
            return {} if uuids is MISSING else uuids
        for uuid in uuids:
            folder = f"{_BTRFS}/{uuid}/devices"
            devices = self._tree.names(folder)
            # Such as "features", which is no file system.
            if devices is MISSING:
                continue
            if isinstance(devices, Unknown):
                return devices.at(folder)
            for device in devices:
                path = self._tree.real(f"{folder}/{device}")
                if isinstance(path, Unknown):
                    return path
                members.setdefault(path, devices)
        return members

    @functools.cached_property
    def _zfs_pools(self) -> dict[str, list[str]] | Unknown:
        """The devices that udev found labelled as each pool's.

        ZFS shows them in no file of its own.
        """
        blocks = self._blocks
        if isinstance(blocks, Unknown):
            return blocks
        pools: dict[str, list[str]] = {}
        for block in blocks:
            properties = _properties(self._tree, block)
            if isinstance(properties, Unknown):
                return Unknown(
                    properties.why, f"udev of {block}: {properties}"
                )
            if "ID_FS_TYPE=zfs_member" in properties:
                labels = [
                    line.removeprefix("ID_FS_LABEL=")
                    for line in properties
                    if line.startswith("ID_FS_LABEL=")
                ]
                for pool in labels or [""]:
                    pools.setdefault(pool, []).append(block)
        return pools


def _properties(tree: Tree, block: str) -> frozenset[str] | Unknown:
    """Return udev's properties, which a recording has in ``uevent``."""
    (uevent, number), _ = tree.gather(f"{BY_NAME}/{block}", ("uevent", "dev"))
    database: str | Unknown = MISSING
    if not isinstance(number, Unknown):
        database = text(tree, f"{_UDEV}/b{decoded(number)}")
    for part in (uevent, number, database):
        if isinstance(part, Unknown) and part is not MISSING:
            return part
    lines = decoded(known(uevent) or b"").split("\n")
    lines += [line[2:] for line in (known(database) or "").split("\n")]
    return frozenset(lines)

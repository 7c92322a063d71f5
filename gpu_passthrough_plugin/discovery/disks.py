"""From a block device down to the functions that it is on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import blocks, endpoints, pools
from gpu_passthrough_plugin.discovery.mounts import POOLED, Source
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown

_CONTROLLER = re.compile(r"nvme[0-9]+")
_BLOCKS = re.compile(r"/(?:block|nvme|nvme-subsystem)/")

Chain = tuple[str, ...]


def functions(tree: Tree, source: Source) -> Mapping[Address, Chain] | Unknown:
    """Functions of the disks below what is mounted or swapped to.

    With the names of the devices that lead from each up to the source.
    Through partitions, device mapper, MD, bcache and NVMe multipath.  None
    for a device on a bus other than PCI, or for one that is gone.
    """
    if source.kind in POOLED:
        members = pools.members(tree, source)
        if isinstance(members, Unknown):
            return members
        todo = [blocks.named(tree, name) for name in members]
    elif source.number:
        todo = [blocks.numbered(tree, source.number)]
    else:
        todo = [blocks.named(tree, source.name)]
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
        for address in endpoints.on_path(path):
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

"""From a network interface down to the functions that carry it."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import endpoints
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_NET = "sys/class/net"
# Open vSwitch ties a bridge's own interface to nothing; all its physical
# ones are below this datapath.
_DATAPATH = "ovs-system"


def functions(
    tree: Tree, interface: str
) -> Mapping[Address, tuple[str, ...]] | Unknown:
    """Functions of the physical interfaces that ``interface`` goes over.

    With the names of the interfaces that lead from each up to it.
    Through bridges, bonds, VLANs and whatever else names its lower ones.
    None for one on a bus other than PCI; ``Unknown`` for a virtual one
    with nothing below it, such as a tunnel.
    """
    found: dict[Address, tuple[str, ...]] = {}
    todo: list[tuple[str, ...]] = [(interface,)]
    seen = {interface}
    while todo:
        chain = todo.pop()
        name = chain[0]
        path = tree.real(f"{_NET}/{name}")
        link = tree.link(f"{_NET}/{name}")
        if isinstance(path, Unknown) or not isinstance(link, str):
            return Unknown(Why.MISSING, f"{_NET}/{name}")
        lower = _lower(tree, name)
        here = endpoints.on_path(path)
        if "/virtual/" in path and not lower:
            return Unknown(
                Why.MISSING, f"{name} is virtual, and nothing is below it"
            )
        found.update((address, chain) for address in here)
        todo += [(other, *chain) for other in lower if other not in seen]
        seen.update(lower)
    return found


def _lower(tree: Tree, name: str) -> list[str]:
    folder = f"{_NET}/{name}"
    entries = tree.names(folder)
    names = () if isinstance(entries, Unknown) else entries
    lower = [
        entry.removeprefix(prefix)
        for entry in names
        for prefix in ("lower_", "slave_")
        if entry.startswith(prefix)
    ]
    ports = tree.names(f"{folder}/brif")
    if not isinstance(ports, Unknown):
        lower += ports
    slaves = text(tree, f"{folder}/bonding/slaves")
    if not isinstance(slaves, Unknown):
        lower += slaves.split()
    return lower or _linked(tree, name) or _datapath(tree, name)


def _linked(tree: Tree, name: str) -> list[str]:
    """A VLAN's interface where the kernel is too old for ``lower_``."""
    (index, link), _ = tree.gather(f"{_NET}/{name}", ("ifindex", "iflink"))
    if isinstance(index, Unknown) or isinstance(link, Unknown):
        return []
    if link == index:
        return []
    others = tree.names(_NET)
    return [
        other
        for other in (() if isinstance(others, Unknown) else others)
        if other != name and tree.read(f"{_NET}/{other}/ifindex") == link
    ]


def _datapath(tree: Tree, name: str) -> list[str]:
    where = tree.link(f"{_NET}/{name}")
    is_virtual = isinstance(where, str) and "/virtual/" in where
    if name == _DATAPATH or not is_virtual:
        return []
    exists = tree.link(f"{_NET}/{_DATAPATH}") not in (None, MISSING)
    return [_DATAPATH] if exists else []

"""Which interfaces the host's routes use, and which functions carry them."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import routes, sysfs_path
from gpu_passthrough_plugin.formats.routes import Route
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_NET = "sys/class/net"
# The first process is in the host's network namespace wherever this one
# runs; its files may be closed to us.
_ROUTES = ("proc/1/net", "proc/net")
# Open vSwitch ties a bridge's own interface to nothing; all its physical
# ones are below this datapath.
_DATAPATH = "ovs-system"


def route_table(tree: Tree) -> tuple[Route, ...] | Unknown:
    """Return the host's routes.  A kernel without IPv6 has no file for it."""
    ipv4, ipv6 = _table(tree, "route"), _table(tree, "ipv6_route")
    if isinstance(ipv4, Unknown):
        return Unknown(ipv4.why, f"{_ROUTES[-1]}/route: {ipv4}")
    if isinstance(ipv6, Unknown):
        if ipv6 is not MISSING:
            return Unknown(ipv6.why, f"{_ROUTES[-1]}/ipv6_route: {ipv6}")
        ipv6 = ""
    try:
        return (*routes.parse_ipv4(ipv4), *routes.parse_ipv6(ipv6))
    except ValueError as error:
        return Unknown(Why.MALFORMED, f"a table of routes: {error}")


def _table(tree: Tree, name: str) -> str | Unknown:
    table: str | Unknown = MISSING
    for folder in _ROUTES:
        table = text(tree, f"{folder}/{name}")
        if not isinstance(table, Unknown):
            return table
    return table


def functions(
    tree: Tree, interface: str
) -> Mapping[Address, tuple[str, ...]] | Unknown:
    """Return the functions of the physical interfaces below ``interface``.

    Each with the names of the interfaces that lead from it up to
    ``interface``: through bridges, bonds, VLANs and whatever else names its
    lower ones.  None for one on a bus other than PCI; ``Unknown`` for a
    virtual one with nothing below it, such as a tunnel.
    """
    chains: dict[Address, tuple[str, ...]] = {}
    pending: list[tuple[str, ...]] = [(interface,)]
    seen = {interface}
    while pending:
        chain = pending.pop()
        name = chain[0]
        path = tree.real(f"{_NET}/{name}")
        link = tree.link(f"{_NET}/{name}")
        if isinstance(path, Unknown) or not isinstance(link, str):
            return Unknown(Why.MISSING, f"{_NET}/{name}")
        lower = _lower(tree, name)
        if "/virtual/" in path and not lower:
            return Unknown(
                Why.MISSING, f"{name} is virtual, and nothing is below it"
            )
        for address in sysfs_path.endpoints(path):
            chains[address] = chain
        pending += [(other, *chain) for other in lower if other not in seen]
        seen.update(lower)
    return chains


def _lower(tree: Tree, name: str) -> list[str]:
    """Return the names of the interfaces right below one."""
    folder = f"{_NET}/{name}"
    entries = tree.names(folder)
    lower = [
        entry.removeprefix(prefix)
        for entry in (() if isinstance(entries, Unknown) else entries)
        for prefix in ("lower_", "slave_")
        if entry.startswith(prefix)
    ]
    ports = tree.names(f"{folder}/brif")
    if not isinstance(ports, Unknown):
        lower += ports
    slaves = text(tree, f"{folder}/bonding/slaves")
    if not isinstance(slaves, Unknown):
        lower += slaves.split()
    return lower or _vlan_parent(tree, name) or _datapath(tree, name)


def _vlan_parent(tree: Tree, name: str) -> list[str]:
    """Return a VLAN's interface on kernels that are too old for ``lower_``."""
    (index, link), _ = tree.gather(f"{_NET}/{name}", ("ifindex", "iflink"))
    if isinstance(index, Unknown) or isinstance(link, Unknown):
        return []
    if link == index:
        return []
    interfaces = tree.names(_NET)
    return [
        other
        for other in (() if isinstance(interfaces, Unknown) else interfaces)
        if other != name and tree.read(f"{_NET}/{other}/ifindex") == link
    ]


def _datapath(tree: Tree, name: str) -> list[str]:
    """Return Open vSwitch's datapath for an interface of its bridges."""
    link = tree.link(f"{_NET}/{name}")
    is_virtual = isinstance(link, str) and "/virtual/" in link
    if name == _DATAPATH or not is_virtual:
        return []
    exists = tree.link(f"{_NET}/{_DATAPATH}") not in (None, MISSING)
    return [_DATAPATH] if exists else []

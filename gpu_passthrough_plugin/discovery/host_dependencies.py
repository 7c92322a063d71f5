"""Which PCI functions the host itself needs: for its disks and its network."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import host_disks
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import routes, sysfs_path
from gpu_passthrough_plugin.formats.routes import Route
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.host_facts import Use
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_NET = "sys/class/net"
# The first process is in the host's network namespace wherever this one
# runs; its files may be closed to us.
_ROUTES = ("proc/1/net", "proc/net")
# Open vSwitch ties a bridge's own interface to nothing; all its physical
# ones are below this datapath.
_DATAPATH = "ovs-system"


def uses(tree: Tree) -> tuple[Use, ...] | Unknown:
    """Return the functions under mounted disks, swap and routes, by address.

    ``Unknown`` as soon as one of them cannot be followed: an overlooked use
    costs the host.
    """
    needed: set[Use] = set()
    for part in (_disk_uses(tree), _route_uses(tree)):
        if isinstance(part, Unknown):
            return part
        needed.update(part)
    return tuple(sorted(needed))


def _disk_uses(tree: Tree) -> list[Use] | Unknown:
    sources = host_disks.sources(tree)
    if isinstance(sources, Unknown):
        return sources
    needed = []
    for source in sources:
        chains = host_disks.functions(tree, source)
        if isinstance(chains, Unknown):
            return Unknown(chains.why, f"{source.what}: {chains}")
        needed += _uses(chains, source.what)
    return needed


def _route_uses(tree: Tree) -> list[Use] | Unknown:
    table = _routes(tree)
    if isinstance(table, Unknown):
        return table
    defaults = {route.interface for route in table if route.is_default}
    needed = []
    for interface in sorted({route.interface for route in table}):
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        chains = _interface_functions(tree, interface)
        if not isinstance(chains, Unknown):
            needed += _uses(chains, what)
        elif is_default:
            return Unknown(chains.why, f"{what}: {chains}")
        # Otherwise a guest's own network or a tunnel: what carries it has a
        # route of its own.
    return needed


def _uses(chains: Mapping[Address, tuple[str, ...]], what: str) -> list[Use]:
    return [Use(address, what, via) for address, via in chains.items()]


def _routes(tree: Tree) -> tuple[Route, ...] | Unknown:
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


def _interface_functions(
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

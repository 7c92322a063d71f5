"""Which functions the host itself needs: for its disks and its network."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import host_disks
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import routes, sysfs_path
from gpu_passthrough_plugin.formats.routes import Route
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.facts import Use
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why


def uses(tree: Tree) -> tuple[Use, ...] | Unknown:
    """Functions under mounted disks, swap and routes, by address.

    ``Unknown`` as soon as one of them cannot be followed: a use that was
    overlooked costs the host.
    """
    found: set[Use] = set()
    for part in (_of_disks(tree), _of_routes(tree)):
        if isinstance(part, Unknown):
            return part
        found.update(part)
    return tuple(sorted(found))


Found = list[Use] | Unknown


def _of_disks(tree: Tree) -> Found:
    sources = host_disks.sources(tree)
    if isinstance(sources, Unknown):
        return sources
    found = []
    for source in sources:
        addresses = host_disks.functions(tree, source)
        if isinstance(addresses, Unknown):
            return Unknown(addresses.why, f"{source.what}: {addresses}")
        found += _each(addresses, source.what)
    return found


def _of_routes(tree: Tree) -> Found:
    table = _routes(tree)
    if isinstance(table, Unknown):
        return table
    defaults = {r.interface for r in table if r.is_default}
    found = []
    for interface in sorted({r.interface for r in table}):
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        addresses = _functions(tree, interface)
        if not isinstance(addresses, Unknown):
            found += _each(addresses, what)
        elif is_default:
            return Unknown(addresses.why, f"{what}: {addresses}")
        # Guests' own networks and tunnels: what these go over has a route.
    return found


def _each(
    addresses: Mapping[Address, tuple[str, ...]], what: str
) -> list[Use]:
    return [Use(address, what, via) for address, via in addresses.items()]


_NET = "sys/class/net"
# Open vSwitch ties a bridge's own interface to nothing; all its physical
# ones are below this datapath.
_DATAPATH = "ovs-system"


def _functions(
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
        here = sysfs_path.on_path(path)
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


# The first process is in the host's namespace wherever this one is; its
# files may be closed to us.
_FOLDERS = ("proc/1/net", "proc/net")


def _routes(tree: Tree) -> tuple[Route, ...] | Unknown:
    """The host's routes, but those over ``lo`` and those of every link.

    IPv4's main table and all of IPv6's: the kernel shows no more here.
    A kernel without IPv6 has no file for it.
    """
    ipv4, ipv6 = _table(tree, "route"), _table(tree, "ipv6_route")
    if isinstance(ipv4, Unknown):
        return Unknown(ipv4.why, f"{_FOLDERS[-1]}/route: {ipv4}")
    if isinstance(ipv6, Unknown):
        if ipv6 is not MISSING:
            return Unknown(ipv6.why, f"{_FOLDERS[-1]}/ipv6_route: {ipv6}")
        ipv6 = b""
    try:
        return (*routes.routes4(ipv4), *routes.routes6(ipv6))
    except (ValueError, IndexError) as error:
        return Unknown(Why.MALFORMED, f"a table of routes: {error}")


def _table(tree: Tree, name: str) -> bytes | Unknown:
    data: bytes | Unknown = MISSING
    for folder in _FOLDERS:
        data = tree.read(f"{folder}/{name}")
        if not isinstance(data, Unknown):
            return data
    return data

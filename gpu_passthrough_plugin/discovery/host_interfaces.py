"""Which interfaces the host's routes use, and which functions carry them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import (
    chroot_path,
    routes,
    rtnetlink,
    sysfs_path,
)
from gpu_passthrough_plugin.formats.routes import Route, RouteIndex
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
)

_NET = "sys/class/net"
# The first process is in the host's network namespace wherever this one
# runs; its files may be closed to us.
_ROUTES = ("proc/1/net", "proc/net")
# Open vSwitch ties a bridge's own interface to nothing; all its physical
# ones are below this datapath.
_DATAPATH = "ovs-system"
# A file among the interfaces.
# Source: Linux, drivers/net/bonding/bond_sysfs.c.
_NO_INTERFACE = "bonding_masters"
# Source: Linux, include/linux/netdevice.h (MAX_NEST_DEV is 8); Open vSwitch
# and virtual functions add a few.
_MOST_STACKED = 16
# A recording of a stranger's may lead from each interface to each.
_MOST_VISITS = 100_000

_UP = 0x1

Chain = tuple[str, ...]
"""Names of interfaces, from a physical one up to the one that is asked for."""


class RouteTable(NamedTuple):
    """The host's routes.

    :param hops: every next hop that is known.
    :param possible: interfaces that are up and may be a next hop of the
        default route: where only tables with first next hops were read.
    """

    hops: tuple[Route, ...]
    possible: tuple[str, ...]


class HostNetwork:
    """The host's routes and interfaces, each read once.

    :ivar tree: the host's files.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._visits = 0
        self._interfaces: dict[str, tuple[str, list[str]]] = {}

    @functools.cached_property
    def routes(self) -> RouteTable | Unknown:
        """The host's routes: all next hops, or what else could be read."""
        return _route_table(self.tree)

    def has(self, interface: str) -> bool:
        """Return whether there is an interface of this name."""
        return isinstance(self.tree.link(f"{_NET}/{interface}"), str)

    def towards(self, address: str) -> tuple[str, ...] | Unknown:
        """Return the interfaces over which the host reaches an IP address.

        None for one on the loopback network.

        :param address: a link-local one with its interface:
            ``fe80::1%eno1``.
        """
        if address.startswith("127.") or address == "::1":
            return ()
        interface = address.partition("%")[2]
        if interface:
            return (interface,)
        if isinstance(self.routes, Unknown):
            return self.routes
        try:
            hops = self._index.towards(address)
        except ValueError as error:
            return Unknown(Why.MALFORMED, str(error))
        if not hops:
            return Unknown(Why.MISSING, f"no route to {address}")
        names = [hop.interface for hop in hops]
        if any(hop.is_default for hop in hops):
            names += self.routes.possible
        return tuple(dict.fromkeys(names))

    def functions(self, interface: str) -> Mapping[Address, Chain] | Unknown:
        """Return the functions of the physical interfaces below one.

        Each with the names of the interfaces that lead from it up to
        ``interface``: through bridges, bonds, VLANs and whatever else names
        its lower ones.  None for one on a bus other than PCI; ``Unknown``
        where nothing physical is below, as below a tunnel.  A guest's
        interface on the host's bridge carries nothing of the host's.
        """
        chains: dict[Address, Chain] = {}
        pending: list[Chain] = [(interface,)]
        seen = {interface}
        has_physical = False
        while pending:
            chain = pending.pop()
            name = chain[0]
            self._visits += 1
            if len(chain) > _MOST_STACKED or self._visits > _MOST_VISITS:
                return Unknown(
                    Why.MALFORMED, f"too many interfaces below {interface}"
                )
            interface_below = self._read(name)
            if isinstance(interface_below, Unknown):
                return interface_below
            path, lower = interface_below
            has_physical = has_physical or "/virtual/" not in path
            for address in sysfs_path.endpoints(path):
                chains[address] = chain
            pending += [
                (other, *chain) for other in lower if other not in seen
            ]
            seen.update(lower)
        if not has_physical:
            return Unknown(
                Why.MISSING,
                f"{interface} is virtual, and nothing is below it",
            )
        return chains

    def stacked(self) -> list[tuple[str, str]] | Unknown:
        """Return each physical interface with each interface right above it.

        Such as a bridge of guests that no route of the host's goes over, a
        bond, or the macvtap of a running guest.
        """
        names = self._names
        if isinstance(names, Unknown):
            return names
        pairs = []
        for name in names:
            path = _device_path(self.tree, name)
            if isinstance(path, Unknown):
                if path.why is Why.MISSING:
                    continue
                return path
            upper = [] if "/virtual/" in path else _upper(self.tree, name)
            if isinstance(upper, Unknown):
                return upper
            pairs += [(name, other) for other in upper]
        return pairs

    def _read(self, name: str) -> tuple[str, list[str]] | Unknown:
        """Return an interface's path, and the names of those below it."""
        if name not in self._interfaces:
            path = _device_path(self.tree, name)
            if isinstance(path, Unknown):
                return path
            lower = self._lower(name)
            if isinstance(lower, Unknown):
                return lower
            self._interfaces[name] = path, lower
        return self._interfaces[name]

    def _lower(self, name: str) -> list[str] | Unknown:
        """Return the names of the interfaces right below one."""
        return (
            _linked_lower(self.tree, name)
            or self._vlan_parent(name)
            or _datapath(self.tree, name)
        )

    def _vlan_parent(self, name: str) -> list[str] | Unknown:
        """Return a VLAN's interface on kernels too old for ``lower_``.

        A tunnel that is bound to an interface names it in the same way.
        """
        files = ("ifindex", "iflink")
        (index, link), _ = self.tree.gather(f"{_NET}/{name}", files)
        if index is MISSING or link is MISSING:
            return []
        if isinstance(index, Unknown):
            return index
        if isinstance(link, Unknown):
            return link
        if link == index:
            return []
        parents = self._by_index
        if isinstance(parents, Unknown):
            return parents
        return parents.get(link, [])

    @functools.cached_property
    def _index(self) -> RouteIndex:
        table = self.routes
        return RouteIndex(() if isinstance(table, Unknown) else table.hops)

    @functools.cached_property
    def _names(self) -> tuple[str, ...] | Unknown:
        return _interfaces(self.tree)

    @functools.cached_property
    def _by_index(self) -> dict[bytes, list[str]] | Unknown:
        names = self._names
        if isinstance(names, Unknown):
            return names
        by_index: dict[bytes, list[str]] = {}
        for name in names:
            index = self.tree.read(f"{_NET}/{name}/ifindex")
            if index is MISSING:
                continue
            if isinstance(index, Unknown):
                return index.at(f"{_NET}/{name}/ifindex")
            by_index.setdefault(index, []).append(name)
        return by_index


def are_down(tree: Tree, address: Address) -> bool:
    """Return whether a function has network interfaces, and all are down.

    By the operator, that is: they carry no packet, whatever their cables do.

    Source: Linux, include/uapi/linux/if.h (``IFF_UP`` is 1).
    """
    folder = f"sys/bus/pci/devices/{address}/net"
    names = tree.names(folder)
    if isinstance(names, Unknown) or not names:
        return False
    flags = [text(tree, f"{folder}/{name}/flags") for name in names]
    return all(
        isinstance(value, str)
        and re.fullmatch(r"0x[0-9a-f]{1,8}", value)
        and not int(value, 16) & _UP
        for value in flags
    )


def _route_table(tree: Tree) -> RouteTable | Unknown:
    """Return the host's routes: all next hops, or what else could be read."""
    dump = text(tree, rtnetlink.PATH)
    try:
        if not isinstance(dump, Unknown):
            return RouteTable(tuple(routes.parse_next_hops(dump)), ())
        return _first_hops(tree)
    except ValueError as error:
        return Unknown(Why.MALFORMED, f"a table of routes: {error}")


def _first_hops(tree: Tree) -> RouteTable | Unknown:
    """Return what ``/proc/net`` shows.  A kernel may be without IPv6."""
    ipv4, ipv6 = _table(tree, "route"), _table(tree, "ipv6_route")
    if isinstance(ipv4, Unknown):
        return ipv4.at(f"{_ROUTES[-1]}/route")
    if isinstance(ipv6, Unknown):
        if ipv6 is not MISSING:
            return ipv6.at(f"{_ROUTES[-1]}/ipv6_route")
        ipv6 = ""
    hops = (*routes.parse_ipv4(ipv4), *routes.parse_ipv6(ipv6))
    if not any(hop.is_default for hop in hops):
        return RouteTable(hops, ())
    operational = _operational(tree)
    if isinstance(operational, Unknown):
        return operational
    linked = {*routes.links_up(ipv6), *operational}
    return RouteTable(
        hops, tuple(sorted(linked - {hop.interface for hop in hops}))
    )


def _table(tree: Tree, name: str) -> str | Unknown:
    table: str | Unknown = MISSING
    for folder in _ROUTES:
        table = text(tree, f"{folder}/{name}")
        if not isinstance(table, Unknown):
            return table
    return table


def _operational(tree: Tree) -> list[str] | Unknown:
    """Return the interfaces that may carry packets.

    The state is unknown to the kernel where a driver does not set it.
    Source: Linux, Documentation/networking/operstates.rst.
    """
    names = _interfaces(tree)
    if isinstance(names, Unknown):
        return names
    states = {name: text(tree, f"{_NET}/{name}/operstate") for name in names}
    return [
        name
        for name, state in states.items()
        if state in {"up", "unknown"}
        or (isinstance(state, Unknown) and state is not MISSING)
    ]


def _interfaces(tree: Tree) -> tuple[str, ...] | Unknown:
    """Return the names of all interfaces."""
    names = _names_in(tree, _NET)
    if isinstance(names, Unknown):
        return names
    return tuple(name for name in names if name != _NO_INTERFACE)


def _names_in(tree: Tree, folder: str) -> tuple[str, ...] | Unknown:
    """Return the names in a folder: none in one that is not there."""
    names = tree.names(folder)
    if names is MISSING:
        return ()
    if isinstance(names, Unknown):
        return names.at(folder)
    return names


def _device_path(tree: Tree, name: str) -> str | Unknown:
    """Return the path of an interface's device."""
    link = tree.link(f"{_NET}/{name}")
    if isinstance(link, Unknown):
        return link.at(f"{_NET}/{name}")
    if link is None:
        return Unknown(Why.MISSING, f"{_NET}/{name}")
    return tree.real(f"{_NET}/{name}")


def _upper(tree: Tree, name: str) -> list[str] | Unknown:
    """Return the names of the interfaces right above one."""
    folder = f"{_NET}/{name}"
    entries = _names_in(tree, folder)
    if isinstance(entries, Unknown):
        return entries
    upper = [
        entry.removeprefix("upper_")
        for entry in entries
        if entry.startswith("upper_")
    ]
    if upper:
        return upper
    master = tree.link(f"{folder}/master")
    if isinstance(master, Unknown):
        return master.at(f"{folder}/master")
    return [] if master is None else [chroot_path.name(master)]


def _linked_lower(tree: Tree, name: str) -> list[str] | Unknown:
    """Return the names of the interfaces right below one."""
    folder = f"{_NET}/{name}"
    entries = _names_in(tree, folder)
    ports = _names_in(tree, f"{folder}/brif")
    if isinstance(entries, Unknown):
        return entries
    if isinstance(ports, Unknown):
        return ports
    slaves = text(tree, f"{folder}/bonding/slaves")
    if isinstance(slaves, Unknown):
        if slaves is not MISSING:
            return slaves.at(f"{folder}/bonding/slaves")
        slaves = ""
    lower = [
        entry.removeprefix(prefix)
        for entry in entries
        for prefix in ("lower_", "slave_")
        if entry.startswith(prefix)
    ]
    return [*lower, *ports, *slaves.split()]


def _datapath(tree: Tree, name: str) -> list[str] | Unknown:
    """Return Open vSwitch's datapath for an interface of its bridges."""
    link = tree.link(f"{_NET}/{name}")
    is_virtual = isinstance(link, str) and "/virtual/" in link
    if name == _DATAPATH or not is_virtual:
        return []
    datapath = tree.link(f"{_NET}/{_DATAPATH}")
    if isinstance(datapath, Unknown):
        return datapath.at(f"{_NET}/{_DATAPATH}")
    return [] if datapath is None else [_DATAPATH]

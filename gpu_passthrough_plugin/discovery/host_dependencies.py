"""Which PCI functions the host itself needs: for its disks and its network."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import host_disks
from gpu_passthrough_plugin.discovery.host_disks import HostDisks
from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, sysfs_path
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.host_facts import HostUse
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

_FUNCTIONS = "sys/bus/pci/devices"
_IBFT = "sys/firmware/ibft"
_IBFT_NIC = re.compile(r"ethernet[0-9]+")
_BLOCK_VALID = 0x1


def uses(tree: Tree) -> tuple[HostUse, ...] | Unknown:
    """Return the functions under the host's disks and network, by address.

    Under mounted disks, swap, every route, and interfaces that lie on others.

    ``Unknown`` as soon as one of them cannot be followed: an overlooked use
    costs the host.
    """
    network = HostNetwork(tree)
    needed: set[HostUse] = set()
    for part in (
        _firmware_uses(tree),
        _stacked_uses(network),
        _disk_uses(network),
        _route_uses(network),
    ):
        if isinstance(part, Unknown):
            return part
        needed.update(part)
    for use in tuple(needed):
        physical = _physical_use(tree, use)
        if isinstance(physical, Unknown):
            return physical
        if physical is not None:
            needed.add(physical)
    return tuple(sorted(needed))


def _disk_uses(network: HostNetwork) -> list[HostUse] | Unknown:
    sources = host_disks.sources(network.tree)
    if isinstance(sources, Unknown):
        return sources
    needed = []
    disks = HostDisks(network)
    for source in sources:
        chains = disks.functions(source)
        if isinstance(chains, Unknown):
            return chains.at(source.what)
        needed += _uses(chains, source.what)
    return needed


def _route_uses(network: HostNetwork) -> list[HostUse] | Unknown:
    table = network.routes
    if isinstance(table, Unknown):
        return table
    defaults = {hop.interface for hop in table.hops if hop.is_default}
    interfaces = sorted({hop.interface for hop in table.hops})
    needed = []
    for interface in interfaces:
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        chains = network.functions(interface)
        if not isinstance(chains, Unknown):
            needed += _uses(chains, what, is_route=not is_default)
        elif is_default or chains.why is not Why.MISSING:
            return chains.at(what)
        # Otherwise a guest's own network or a tunnel: what carries it has a
        # route of its own.
    if interfaces and not any(map(network.has, interfaces)):
        return Unknown(
            Why.MISSING,
            f"none of the routes' interfaces ({', '.join(interfaces)}) is"
            " shown in sys/class/net",
        )
    for interface in table.possible:
        what = f"a possible next hop of the default route ({interface} is up,"
        chains = network.functions(interface)
        if not isinstance(chains, Unknown):
            what = f"{what} and only the first next hop could be read)"
            needed += _uses(chains, what)
        elif chains.why is not Why.MISSING:
            return chains.at(interface)
    return needed


def _stacked_uses(network: HostNetwork) -> list[HostUse] | Unknown:
    """Return the NICs below bridges, bonds and other interfaces."""
    pairs = network.stacked()
    if isinstance(pairs, Unknown):
        return pairs
    needed = []
    for name, upper in pairs:
        chains = network.functions(name)
        if isinstance(chains, Unknown):
            return chains.at(f"interface {upper}")
        needed += _uses(chains, f"interface {upper}")
    return needed


def _firmware_uses(tree: Tree) -> list[HostUse] | Unknown:
    """Return the NICs over which the firmware attached an iSCSI disk.

    Source: iSCSI Boot Firmware Table 1.03; Linux,
    Documentation/ABI/testing/sysfs-ibft.
    """
    names = tree.names(_IBFT)
    if isinstance(names, Unknown):
        return [] if names is MISSING else names.at(_IBFT)
    needed = []
    for name in names:
        folder = f"{_IBFT}/{name}"
        if not _IBFT_NIC.fullmatch(name) or not _is_valid(tree, folder):
            continue
        link = tree.link(f"{folder}/device")
        if isinstance(link, Unknown):
            return link.at(f"{folder}/device")
        path = tree.real(f"{folder}/device")
        if isinstance(path, Unknown):
            return path
        needed += [
            HostUse(address, f"iSCSI boot (iBFT {name})")
            for address in sysfs_path.endpoints(path)
        ]
    return needed


def _is_valid(tree: Tree, folder: str) -> bool:
    """Return whether the firmware filled in a NIC, as far as is known."""
    flags = text(tree, f"{folder}/flags")
    return (
        isinstance(flags, Unknown)
        or not flags.strip().isdecimal()
        or bool(int(flags) & _BLOCK_VALID)
    )


def _physical_use(tree: Tree, use: HostUse) -> HostUse | Unknown | None:
    """Return the use of a virtual function's physical one: it carries it."""
    path = f"{_FUNCTIONS}/{use.address}/physfn"
    link = tree.link(path)
    if link is None:
        return None
    if isinstance(link, Unknown):
        return link.at(path)
    try:
        address = addresses.parse(chroot_path.name(link))
    except errors.Invalid as error:
        return Unknown(Why.MALFORMED, f"{path}: {error}")
    return HostUse(address, use.what, (str(use.address), *use.via))


def _uses(
    chains: Mapping[Address, tuple[str, ...]],
    what: str,
    *,
    is_route: bool = False,
) -> list[HostUse]:
    return [
        HostUse(address, what, via, is_route)
        for address, via in chains.items()
    ]

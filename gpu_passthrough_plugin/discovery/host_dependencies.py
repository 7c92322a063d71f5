"""Which PCI functions the host itself needs: for its disks and its network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery import host_disks
from gpu_passthrough_plugin.discovery.host_disks import HostDisks
from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.formats import chroot_path, sysfs_path
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.host_facts import HostUse
from gpu_passthrough_plugin.model.reading import Unknown, Why

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
    needed: set[HostUse] = {*_firmware_uses(tree), *_stacked_uses(network)}
    for part in (_disk_uses(network), _route_uses(network)):
        if isinstance(part, Unknown):
            return part
        needed.update(part)
    needed.update(*(_physical_uses(tree, use) for use in tuple(needed)))
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
            return Unknown(chains.why, f"{source.what}: {chains}")
        needed += _uses(chains, source.what)
    return needed


def _route_uses(network: HostNetwork) -> list[HostUse] | Unknown:
    table = network.routes
    if isinstance(table, Unknown):
        return table
    defaults = {hop.interface for hop in table.hops if hop.is_default}
    needed = []
    for interface in sorted({hop.interface for hop in table.hops}):
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        chains = network.functions(interface)
        if not isinstance(chains, Unknown):
            needed += _uses(chains, what)
        elif is_default or chains.why is not Why.MISSING:
            return Unknown(chains.why, f"{what}: {chains}")
        # Otherwise a guest's own network or a tunnel: what carries it has a
        # route of its own.
    for interface in table.possible:
        chains = network.functions(interface)
        if not isinstance(chains, Unknown):
            needed += _uses(
                chains,
                f"a possible next hop of the default route ({interface} is up,"
                " and only the first next hop could be read)",
            )
    return needed


def _stacked_uses(network: HostNetwork) -> Iterator[HostUse]:
    """Yield the NICs below bridges, bonds and other interfaces."""
    for name, upper in network.stacked():
        chains = network.functions(name)
        if not isinstance(chains, Unknown):
            yield from _uses(chains, f"interface {upper}")


def _firmware_uses(tree: Tree) -> Iterator[HostUse]:
    """Yield the NICs over which the firmware attached an iSCSI disk.

    Source: iSCSI Boot Firmware Table 1.03; Linux,
    Documentation/ABI/testing/sysfs-ibft.
    """
    names = tree.names(_IBFT)
    for name in () if isinstance(names, Unknown) else names:
        if not _IBFT_NIC.fullmatch(name):
            continue
        flags = text(tree, f"{_IBFT}/{name}/flags")
        is_valid = (
            isinstance(flags, Unknown)
            or not flags.strip().isdecimal()
            or int(flags) & _BLOCK_VALID
        )
        path = tree.real(f"{_IBFT}/{name}/device")
        if is_valid and not isinstance(path, Unknown):
            for address in sysfs_path.endpoints(path):
                yield HostUse(address, f"iSCSI boot (iBFT {name})")


def _physical_uses(tree: Tree, use: HostUse) -> Iterator[HostUse]:
    """Yield the use of a virtual function's physical one: it carries it."""
    link = tree.link(f"{_FUNCTIONS}/{use.address}/physfn")
    if not isinstance(link, str):
        return
    try:
        address = addresses.parse(chroot_path.name(link))
    except errors.Invalid:
        return
    yield HostUse(address, use.what, (str(use.address), *use.via))


def _uses(
    chains: Mapping[Address, tuple[str, ...]], what: str
) -> list[HostUse]:
    return [HostUse(address, what, via) for address, via in chains.items()]

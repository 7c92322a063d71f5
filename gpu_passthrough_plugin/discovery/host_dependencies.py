"""Which PCI functions the host itself needs: for its disks and its network."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import host_disks, host_interfaces
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.host_facts import Use
from gpu_passthrough_plugin.model.reading import Unknown


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
    table = host_interfaces.route_table(tree)
    if isinstance(table, Unknown):
        return table
    defaults = {route.interface for route in table if route.is_default}
    needed = []
    for interface in sorted({route.interface for route in table}):
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        chains = host_interfaces.functions(tree, interface)
        if not isinstance(chains, Unknown):
            needed += _uses(chains, what)
        elif is_default:
            return Unknown(chains.why, f"{what}: {chains}")
        # Otherwise a guest's own network or a tunnel: what carries it has a
        # route of its own.
    return needed


def _uses(chains: Mapping[Address, tuple[str, ...]], what: str) -> list[Use]:
    return [Use(address, what, via) for address, via in chains.items()]

"""Which functions the host itself needs: for its disks and its network."""

from __future__ import annotations

from collections.abc import Mapping

from gpu_passthrough_plugin.discovery import disks, mounts, networks, routes
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.facts import Use
from gpu_passthrough_plugin.model.reading import Unknown


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
    sources = mounts.sources(tree)
    if isinstance(sources, Unknown):
        return sources
    found = []
    for source in sources:
        addresses = disks.functions(tree, source)
        if isinstance(addresses, Unknown):
            return Unknown(addresses.why, f"{source.what}: {addresses}")
        found += _each(addresses, source.what)
    return found


def _of_routes(tree: Tree) -> Found:
    table = routes.routes(tree)
    if isinstance(table, Unknown):
        return table
    defaults = {r.interface for r in table if r.is_default}
    found = []
    for interface in sorted({r.interface for r in table}):
        is_default = interface in defaults
        what = f"{'default route' if is_default else 'route'} ({interface})"
        addresses = networks.functions(tree, interface)
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

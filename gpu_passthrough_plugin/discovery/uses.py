"""Which functions the host itself needs: for its disks and its network."""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import disks, mounts, networks, routes
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.facts import Use
from gpu_passthrough_plugin.model.reading import Unknown


def uses(tree: Tree) -> tuple[Use, ...] | Unknown:
    """Functions under mounted disks, swap and default routes, by address.

    ``Unknown`` as soon as one of them cannot be followed: a use that was
    overlooked costs the host.
    """
    found: set[tuple[Address, str]] = set()
    for part in (_of_disks(tree), _of_routes(tree)):
        if isinstance(part, Unknown):
            return part
        found.update(part)
    return tuple(Use(*use) for use in sorted(found))


Found = list[tuple[Address, str]] | Unknown


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
    interfaces = routes.default_interfaces(tree)
    if isinstance(interfaces, Unknown):
        return interfaces
    found = []
    for interface in interfaces:
        what = f"default route ({interface})"
        addresses = networks.functions(tree, interface)
        if isinstance(addresses, Unknown):
            return Unknown(addresses.why, f"{what}: {addresses}")
        found += _each(addresses, what)
    return found


def _each(
    addresses: Iterable[Address], what: str
) -> list[tuple[Address, str]]:
    return [(address, what) for address in addresses]

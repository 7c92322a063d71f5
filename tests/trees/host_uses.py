"""What a described host needs, and NICs for it."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import host_dependencies
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import software
from tests.trees.host import Host


def used(host: Host) -> dict[str, set[str]]:
    """What the host needs, by address: each use and the way to it."""
    uses = host_dependencies.uses(host.tree())
    assert not isinstance(uses, Unknown), uses
    needed: dict[str, set[str]] = {}
    for use in uses:
        way = f"{use.what}: {' '.join(use.via)}"
        needed.setdefault(str(use.address), set()).add(way)
    return needed


def unknown(host: Host) -> str:
    uses = host_dependencies.uses(host.tree())
    assert isinstance(uses, Unknown), uses
    return str(uses)


def nics(host: Host, **addresses: str) -> dict[str, str]:
    """Add NICs by name; their device paths."""
    return {
        name: software.nic(
            host, host.function(address, "8086:10fb", "020000"), name, index
        )
        for index, (name, address) in enumerate(addresses.items(), 2)
    }

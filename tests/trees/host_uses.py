"""What a described host needs, and NICs for it."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import host_dependencies
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
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


CLOSED = "Permission denied"


def closed(host: Host, *paths: str) -> str:
    """Why the uses are not known where these files cannot be read."""
    tree = host.tree()
    hidden = RecordedTree(
        {path: data for path, data in tree.files.items() if path not in paths},
        {path: text for path, text in tree.links.items() if path not in paths},
        tree.folders,
        dict.fromkeys(paths, CLOSED),
    )
    uses = host_dependencies.uses(hidden)
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

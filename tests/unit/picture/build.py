"""Pictures of described hosts."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.flow import host_drawing, host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.allocation import UnitListing
from gpu_passthrough_plugin.picture.host_picture import (
    BridgePicture,
    FunctionPicture,
    GroupPicture,
    HostPicture,
    NodePicture,
)
from tests.trees.host import Host

POLICY = Policy((selector.parse("class=03*"),))
NAME = ("Vendor, Inc.", "Chip 1 [Card]")


def drawn(
    host: Host,
    listing: UnitListing | None = None,
    name: tuple[str, str] = NAME,
    title: str = "Host h",
) -> HostPicture:
    tree = host.tree()
    snapshot = host_snapshot.read(tree, POLICY)
    names = {member.address: name for member in snapshot.members()}
    return host_drawing.draw(tree, snapshot, None, title, names, listing, {})


def every(
    container: HostPicture | NodePicture | BridgePicture | GroupPicture,
) -> Iterator[BridgePicture | GroupPicture | FunctionPicture]:
    """What is in a picture, each box before what is in it."""
    if isinstance(container, HostPicture):
        for node in container.nodes:
            yield from every(node)
        return
    for item in container.items:
        yield item
        if not isinstance(item, FunctionPicture):
            yield from every(item)


def groups(host: HostPicture) -> dict[int | None, GroupPicture]:
    return {g.number: g for g in every(host) if isinstance(g, GroupPicture)}


def addresses(host: HostPicture) -> list[str]:
    found = []
    for item in every(host):
        if isinstance(item, BridgePicture):
            item = item.function
        if isinstance(item, FunctionPicture):
            found += [item.address, *item.folded]
    return found


def large(switches: int = 50, cards: int = 10) -> Host:
    """A host with so many ports, and cards of four functions below each."""
    host = Host()
    for number in range(switches):
        bus = f"{number:04x}:01"
        port = f"{number:04x}:00:01.0"
        group = number * 100
        host.function(port, "8086:1234", "060400", group=group, below=bus)
        for card in range(cards):
            for function, code in enumerate(
                ("030000", "040300", "0c0330", "0c8000")
            ):
                host.function(
                    f"{bus}:{card:02x}.{function}",
                    "10de:1e07",
                    code,
                    under=port,
                    group=group + card + 1,
                )
    return host

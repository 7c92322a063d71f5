"""Described hosts as they are handed to Nova."""

from __future__ import annotations

from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.nova.compute import ComputeHost
from tests.trees import host as described
from tests.trees import hosts

DISPLAYS = ("class=03",)
VIRTUAL = (*DISPLAYS, "15b3:1018")


def handed(
    host: described.Host, name: str = "c1", *select: str, acs: bool = False
) -> ComputeHost:
    """What is read of a described host, as the commands would."""
    policy = Policy(tuple(map(selector.parse, select or DISPLAYS)))
    if acs:
        host.file("proc/cmdline", "quiet pcie_acs_override=downstream\n")
    tree = host.tree()
    found = host_snapshot.read(tree, policy).groups()
    return ComputeHost(
        name,
        host_snapshot.read(tree, policy).units(name),
        tuple(g for g in found if not g.verdict.is_assignable),
    )


def cards(count: int) -> described.Host:
    """Cards of four functions each, all of one kind, from bus 4 on."""
    host = hosts.server()
    for number in range(count):
        bus, port = f"0000:{number + 4:02x}", f"0000:00:{number + 4:02x}.0"
        hosts.port(host, port, bus, 40 + number, "8086")
        for function, ids, code in (
            (0, "10de:1e87", "030000"),
            (1, "10de:10f8", "040300"),
            (2, "10de:1ad8", "0c0330"),
            (3, "10de:1ad9", "0c8000"),
        ):
            host.function(
                f"{bus}:00.{function}", ids, code, under=port,
                group=20 + number, vga=None if function else False,
            )  # fmt: skip
    return host

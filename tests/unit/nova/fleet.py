"""Described hosts as they are handed to Nova."""

from __future__ import annotations

from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.nova import hardware
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
    snapshot = host_snapshot.read(host.tree(), policy)
    found = snapshot.groups()
    return ComputeHost(
        name,
        snapshot.units(name),
        tuple(g for g in found if not g.verdict.is_assignable),
        hardware(snapshot.facts, found),
    )


def accelerators(
    count: int, memory_gib: int = 128, bits: int | None = 46
) -> described.Host:
    """GPUs with so much memory behind one BAR, from bus 4 on.

    :param bits: of the CPU's physical addresses; None where not recorded.
    """
    host = hosts.server()
    if bits is not None:
        host.file(
            "proc/cpuinfo",
            "vendor_id\t: GenuineIntel\n"
            f"address sizes\t: {bits} bits physical, 48 virtual\n",
        )
    for number in range(count):
        bus, port = f"0000:{number + 4:02x}", f"0000:00:{number + 4:02x}.0"
        hosts.port(host, port, bus, 40 + number, "8086")
        host.function(
            f"{bus}:00.0",
            "10de:2330",
            "030200",
            under=port,
            group=20 + number,
            more={"resource": resource(memory_gib)},
        )
    return host


def resource(memory_gib: int) -> str:
    """Registers of 16 MiB, the memory, and 32 MiB."""
    sizes = {0x40200: 16 << 20, 0x14220C: memory_gib << 30, 0x14220D: 32 << 20}
    lines = (
        f"{size:#018x} {2 * size - 1:#018x} {flags & ~1 | 4:#018x}\n"
        for flags, size in sizes.items()
    )
    return "".join(lines)


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

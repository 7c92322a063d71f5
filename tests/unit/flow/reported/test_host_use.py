"""Hosts of public reports that a card's company would have cost."""

from __future__ import annotations

from tests.trees import reported, software
from tests.trees.host import Host
from tests.unit.flow.reported.answers import select, verdict


def two_routed_links() -> Host:
    """siderolabs/talos#14416: one default route over both ports of a card."""
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0200 15b3:1015 group=10 driver=mlx5_core under=00:01.0
        01:00.1 0200 15b3:1015 group=11 driver=mlx5_core under=00:01.0
        """
    )
    for number in (0, 1):
        software.nic(
            host,
            f"/devices/pci0000:00/0000:00:01.0/0000:01:00.{number}",
            f"enp1s0f{number}np{number}",
            number + 2,
        )
    software.next_hops(
        host,
        *(
            f"{family} default dev enp1s0f{number}np{number}"
            for family in ("inet", "inet6")
            for number in (0, 1)
        ),
    )
    return host


def test_every_next_hop_is_the_hosts() -> None:
    host = two_routed_links()
    for place in ("01:00.0", "01:00.1"):
        said = verdict(host, place, select("15b3:*"))
        assert said.startswith("blocked")
        assert "default route" in said

"""Default routes are followed down to physical functions."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_dependencies
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model.reading import Unknown, Why, known
from tests.trees import software
from tests.trees.host import Host

FIRST, SECOND = "0000:01:00.0", "0000:01:00.1"


class Network:
    """Two interfaces on PCI, and nothing mounted."""

    def __init__(self) -> None:
        self.host = Host()
        self.nics = [
            software.nic(
                self.host,
                self.host.function(address, "8086:1521", "020000"),
                name,
                index,
            )
            for address, name, index in (
                (FIRST, "eno1", 2),
                (SECOND, "eno2", 3),
            )
        ]
        software.mounts(self.host, {})
        software.swaps(self.host)

    def used(self, *ipv4: str, ipv6: str = "") -> set[str] | Unknown:
        software.routes(self.host, ipv4, [ipv6] if ipv6 else [])
        found = host_dependencies.uses(self.host.tree())
        if isinstance(found, Unknown):
            return found
        return {str(use.address) for use in found}

    def virtual(self, name: str, **links: str) -> str:
        return software.nic(self.host, "", name, 10, **links)


@pytest.fixture
def network() -> Network:
    return Network()


def test_a_route_over_a_nic(network: Network) -> None:
    assert network.used("eno1") == {FIRST}
    assert network.used("eno1", ipv6="eno2") == {FIRST, SECOND}


def test_a_default_route_is_no_route_of_a_functions_own(
    network: Network,
) -> None:
    """A lease of a function that waits for a guest is; the host's is not."""
    software.next_hops(
        network.host, "inet default dev eno1", "inet 192.0.2.0/24 dev eno2"
    )
    found = host_dependencies.uses(network.host.tree())
    assert not isinstance(found, Unknown)
    assert [(str(use.address), use.is_route) for use in found] == [
        (FIRST, False),
        (SECOND, True),
    ]


def test_no_route_needs_nothing(network: Network) -> None:
    assert network.used() == set()


def test_every_route_that_works_counts(network: Network) -> None:
    """A disk may be behind it: NFS, iSCSI."""
    software.routes(network.host, [])
    network.host.file(
        "proc/1/net/route",
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
        "eno1\t000200C0\t0\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "eno2\t00000000\t0\t0201\t0\t0\t0\t00000000\t0\t0\t0\n"
        "virbr0\t00010000\t0\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n",
    )
    network.virtual("virbr0")
    found = host_dependencies.uses(network.host.tree())
    assert not isinstance(found, Unknown)
    assert [(str(use.address), use.what) for use in found] == [
        (FIRST, "route (eno1)")
    ]


@pytest.mark.parametrize(
    ("destination", "is_used"),
    [("fe80", False), ("febf", False), ("ff00", False), ("fd00", True)],
)
def test_a_link_that_is_only_up(
    network: Network, destination: str, is_used: bool
) -> None:
    software.routes(network.host, [])
    zero = "0" * 32
    network.host.file(
        "proc/1/net/ipv6_route",
        f"{destination:0<32} 40 {zero} 00 {zero} 00000100 00000001 00000000"
        " 00000001     eno1\n",
    )
    found = host_dependencies.uses(network.host.tree())
    assert not isinstance(found, Unknown)
    assert bool(found) == is_used


def test_a_bridge_over_a_bond_over_two_nics(network: Network) -> None:
    bond = network.virtual(
        "bond0",
        lower_eno1=f"/sys{network.nics[0]}",
        lower_eno2=f"/sys{network.nics[1]}",
    )
    network.virtual("br0", lower_bond0=f"/sys{bond}")
    assert network.used("br0") == {FIRST, SECOND}
    found = host_dependencies.uses(network.host.tree())
    assert not isinstance(found, Unknown)
    assert [use.via for use in found] == [
        ("eno1", "bond0", "br0"),
        ("eno2", "bond0", "br0"),
    ]


def test_bonds_and_bridges_of_old_kernels(network: Network) -> None:
    network.host.device("net/bond0", "net", {"bonding/slaves": "eno1 eno2\n"})
    network.host.device(
        "net/br0", "net", {}, {"brif/bond0": "/sys/devices/virtual/net/bond0"}
    )
    assert network.used("br0") == {FIRST, SECOND}


def test_a_vlan_of_old_kernels(network: Network) -> None:
    network.host.device(
        "net/eno2.100", "net", {"ifindex": "12\n", "iflink": "3\n"}
    )
    assert network.used("eno2.100") == {SECOND}


def test_an_open_vswitch_bridge(network: Network) -> None:
    network.virtual("ovs-system", lower_eno2=f"/sys{network.nics[1]}")
    network.virtual("br-ex")
    assert network.used("br-ex") == {SECOND}
    # A physical one is no bridge's.
    assert network.used("eno1") == {FIRST}


def test_a_tunnel_is_unknown(network: Network) -> None:
    network.virtual("tun0")
    assert network.used("tun0") == Unknown(
        Why.MISSING,
        "default route (tun0): missing (tun0 is virtual, and nothing is"
        " below it)",
    )


def test_an_interface_that_is_gone_is_unknown(network: Network) -> None:
    assert network.used("eth9") == Unknown(
        Why.MISSING, "default route (eth9): missing (sys/class/net/eth9)"
    )


def test_a_nic_that_is_not_on_pci_needs_no_function(network: Network) -> None:
    software.nic(network.host, "/devices/platform/vmbus", "eth0", 7)
    assert network.used("eth0") == set()


def test_a_usb_nic_is_on_its_controller(network: Network) -> None:
    usb = network.host.function("0000:00:14.0", "8086:a36d", "0c0330")
    software.nic(network.host, f"{usb}/usb1/1-1/1-1:1.0", "usb0", 7)
    assert network.used("usb0") == {"0000:00:14.0"}


def test_a_kernel_without_ipv6_has_no_table_of_it(network: Network) -> None:
    software.routes(network.host, ["eno1"])
    tree = network.host.tree()
    files = dict(tree.files)
    del files["proc/1/net/ipv6_route"]
    (use,) = (
        known(host_dependencies.uses(RecordedTree(files, tree.links))) or ()
    )
    assert (str(use.address), use.what) == (FIRST, "default route (eno1)")


@pytest.mark.parametrize(
    ("name", "table"),
    [("route", "head\neno1 zz\n"), ("ipv6_route", "0 0 0\n")],
)
def test_a_malformed_table_is_unknown(
    network: Network, name: str, table: str
) -> None:
    software.routes(network.host, ["eno1"])
    network.host.file(f"proc/1/net/{name}", table)
    found = host_dependencies.uses(network.host.tree())
    assert isinstance(found, Unknown)
    assert found.why is Why.MALFORMED


def test_routes_that_cannot_be_read_are_unknown(network: Network) -> None:
    software.routes(network.host, ["eno1"])
    tree = network.host.tree()
    for name in ("route", "ipv6_route"):
        files = dict(tree.files)
        del files[f"proc/1/net/{name}"]
        hidden = RecordedTree(
            files,
            tree.links,
            unreadable={f"proc/net/{name}": "Permission denied"},
        )
        assert host_dependencies.uses(hidden) == Unknown(
            Why.UNREADABLE,
            f"proc/net/{name}: unreadable (Permission denied)",
        )

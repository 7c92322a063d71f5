"""Every interface that routes use, in hosts of public reports."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_interfaces
from gpu_passthrough_plugin.discovery.host_interfaces import HostNetwork
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import software
from tests.trees.host import Host
from tests.trees.host_uses import nics, unknown, used


@pytest.fixture
def host() -> Host:
    """A host without disks and swap; it has a NIC for its default route."""
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    software.next_hops(host, "inet default dev eth1")
    nics(host, eth0="0000:19:00.0", eth1="0000:19:00.1")
    return host


def test_a_cluster_network() -> None:
    """VLAN, bridge, bond: harvester/harvester#3652.

    A guest on the bridge does not hide what is below it.
    """
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    members = nics(host, enp4s0f0="0000:04:00.0", enp4s0f1="0000:04:00.1")
    bond = software.nic(
        host,
        "",
        "mgmt-bo",
        10,
        **{f"lower_{name}": f"/sys{path}" for name, path in members.items()},
    )
    tap = software.nic(host, "", "vnet0", 11)
    bridge = software.nic(
        host,
        "",
        "mgmt-br",
        12,
        **{"lower_mgmt-bo": f"/sys{bond}", "lower_vnet0": f"/sys{tap}"},
    )
    software.nic(
        host, "", "mgmt-br.100", 13, **{"lower_mgmt-br": f"/sys{bridge}"}
    )
    software.routes(host, ["mgmt-br.100"])
    assert used(host) == {
        f"0000:04:00.{number}": {
            "default route (mgmt-br.100):"
            f" enp4s0f{number} mgmt-bo mgmt-br mgmt-br.100"
        }
        for number in (0, 1)
    }


@pytest.mark.parametrize("family", ["inet", "inet6"])
def test_every_next_hop_of_a_multipath_route(family: str) -> None:
    """BGP on the host: siderolabs/talos#14416, zebra-rs/zebra-rs#1354."""
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    nics(host, swp1="0000:01:00.0", swp2="0000:01:00.1")
    software.routes(host, ["swp1"])
    assert set(used(host)) == {"0000:01:00.0"}
    software.next_hops(
        host, f"{family} default dev swp1", f"{family} default dev swp2"
    )
    assert set(used(host)) == {"0000:01:00.0", "0000:01:00.1"}


def first_hop_of(host: Host, *linked: str) -> None:
    """Let /proc/net alone be read: a default route, and links that are up."""
    software.routes(host, ["swp1"])
    zero = "0" * 32
    host.file(
        "proc/1/net/ipv6_route",
        "".join(
            f"{'fe80':0<32} 40 {zero} 00 {zero} 00000100 00000001 00000000"
            f" 00000001 {name:>8}\n"
            for name in linked
        ),
    )


def test_an_interface_that_is_up_may_be_another_next_hop() -> None:
    """al45tair/netifaces#4: /proc/net/route shows the first one only."""
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    nics(host, swp1="0000:01:00.0", swp2="0000:01:00.1")
    first_hop_of(host, "swp1", "swp2", "lo", "gone0")
    (reason,) = used(host)["0000:01:00.1"]
    assert "default route (swp2 is up" in reason
    first_hop_of(host, "swp1")
    assert set(used(host)) == {"0000:01:00.0"}
    host.device(
        "/devices/pci0000:01/0000:01:00.1/net/swp2",
        "net",
        {"ifindex": "3\n", "operstate": "up\n"},
    )
    assert set(used(host)) == {"0000:01:00.0", "0000:01:00.1"}


def test_a_virtual_function_needs_its_physical_one(host: Host) -> None:
    path = host.function(
        "0000:19:02.0", "8086:10ed", "020000", physical="0000:19:00.0"
    )
    software.nic(host, path, "eth0v0", 9)
    software.next_hops(host, "inet default dev eth0v0")
    assert used(host) == {
        "0000:19:02.0": {"default route (eth0v0): eth0v0"},
        "0000:19:00.0": {"default route (eth0v0): 0000:19:02.0 eth0v0"},
    }


def test_a_default_route_of_another_table_may_be_a_tunnels(host: Host) -> None:
    """wg-quick's: its packets are carried by a route of the main table."""
    software.nic(host, "", "wg0", 9)
    lines = ("inet default dev eth1", "inet default dev wg0 table 51820")
    software.next_hops(host, *lines)
    assert set(used(host)) == {"0000:19:00.1"}
    software.next_hops(host, "inet default dev wg0")
    assert "wg0" in unknown(host)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1"])
def test_the_loopback_network_needs_no_interface(
    host: Host, address: str
) -> None:
    network = HostNetwork(host.tree())
    assert network.towards(address) == ()
    assert network.towards("192.0.2.9") == ("eth1",)
    assert isinstance(network.towards("2001:db8::9"), Unknown)


def test_a_damaged_recording_of_routes_is_unknown(host: Host) -> None:
    software.iscsi_disk(host, "sda", "8:0", 1, address="192.0.2.9")
    software.mounts(host, {"/": ("8:0", "/dev/sda", "ext4")})
    for text in ("inet default eth1\n", "ipx default dev eth1 table 254\n"):
        host.file("rtnetlink/routes", text)
        assert "route" in unknown(host)
    host.file("rtnetlink/routes", "inet 300.0.0.0/8 dev eth1 table 254\n")
    assert "300.0.0.0" in unknown(host)


@pytest.mark.parametrize(
    ("link", "upper"),
    [
        ("upper_br-guests", "br-guests"),
        ("upper_macvtap0", "macvtap0"),
        ("master", "ovs-system"),
    ],
)
def test_a_nic_below_an_interface_without_a_route(
    host: Host, link: str, upper: str
) -> None:
    """A bridge for guests alone: harvester/harvester#1541."""
    path = software.nic(host, "", upper, 9)
    function = "/devices/pci0000:19/0000:19:00.0"
    software.nic(host, function, "eth0", 2, **{link: f"/sys{path}"})
    assert used(host)["0000:19:00.0"] == {f"interface {upper}: eth0"}


def test_interfaces_in_endless_stacks_are_unknown(host: Host) -> None:
    """More than the kernel allows: the recording is a stranger's."""
    above = "/devices/pci0000:19/0000:19:00.0/net/eth0"
    for number in range(20):
        name = above.rpartition("/")[2]
        above = software.nic(
            host,
            "",
            f"v{number}",
            10 + number,
            **{f"lower_{name}": f"/sys{above}"},
        )
    software.next_hops(host, "inet default dev v7")
    assert set(used(host)) == {"0000:19:00.0"}
    software.next_hops(host, "inet default dev v19")
    assert "too many" in unknown(host)


def test_interfaces_that_lead_everywhere_are_unknown(host: Host) -> None:
    names = [f"p{number}" for number in range(400)]
    ports = {name: software.nic(host, "", name, 99) for name in names}
    links = {f"lower_{name}": f"/sys{path}" for name, path in ports.items()}
    hub = software.nic(host, "", "hub", 98, **links)
    for name in names:
        software.nic(host, "", name, 99, lower_hub=f"/sys{hub}")
    software.next_hops(
        host, *(f"inet 192.0.2.0/24 dev {name}" for name in names[:9])
    )
    assert used(host) == {}
    software.next_hops(
        host, *(f"inet 192.0.2.0/24 dev {name}" for name in names)
    )
    assert "too many" in unknown(host)


@pytest.mark.parametrize(
    ("flags", "is_down"),
    [
        (("0x1002",), True),
        (("0x1003",), False),
        (("0x1002", "0x1002"), True),
        (("0x1002", "0x1003"), False),
        (("0x1002", "?"), False),
        (("0x1002", ""), False),
        ((), False),
    ],
)
def test_interfaces_that_are_down(
    flags: tuple[str, ...], is_down: bool
) -> None:
    """Whose flags cannot be read may be up."""
    host = Host()
    below = host.function("0000:19:00.0", "8086:10fb", "020000")
    for number, value in enumerate(flags):
        more = {"flags": f"{value}\n"} if value else {}
        host.device(f"{below}/net/eth{number}", "net", more)
    place = address.parse("19:00.0")
    assert host_interfaces.are_down(host.tree(), place) == is_down


def test_an_interface_of_another_network_namespace_may_be_up() -> None:
    """Whose name sysfs does not show here: its folder is empty."""
    host = Host()
    below = host.function("0000:19:00.0", "8086:10fb", "020000")
    host.folder(f"sys{below}/net")
    place = address.parse("19:00.0")
    assert not host_interfaces.are_down(host.tree(), place)

"""What of a host's network cannot be read is unknown, not absent."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_dependencies
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import software
from tests.trees.host import Host
from tests.trees.host_uses import CLOSED, closed, nics, unknown, used

FIRST, SECOND = "0000:19:00.0", "0000:19:00.1"
NET = "sys/class/net"


@pytest.fixture
def host() -> Host:
    """A host with a NIC for its default route and one that is free."""
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    software.next_hops(host, "inet default dev eth0")
    nics(host, eth0=FIRST, eth1=SECOND)
    return host


def real(host: Host, path: str) -> str:
    return str(host.tree().real(path))


@pytest.mark.parametrize(
    "path",
    [
        NET,
        f"{NET}/eth1",
        f"{NET}/eth0/brif",
        f"{NET}/eth0/bonding/slaves",
        f"{NET}/eth0/ifindex",
        f"{NET}/eth0/iflink",
        "sys/firmware/ibft",
        f"sys/bus/pci/devices/{FIRST}/physfn",
    ],
)
def test_a_closed_file(host: Host, path: str) -> None:
    assert set(used(host)) == {FIRST}
    if path.endswith("/physfn"):
        path = f"sys/devices/pci0000:19/{FIRST}/physfn"
    assert CLOSED in closed(host, real(host, path))


def test_a_closed_link_to_an_interface(host: Host) -> None:
    assert CLOSED in closed(host, f"{NET}/eth1")


class Racing(RecordedTree):
    """Lists an interface that is gone when it is looked at."""

    def names(self, path: str) -> tuple[str, ...] | Unknown:
        names = super().names(path)
        if path != NET or isinstance(names, Unknown):
            return names
        return (*names, "gone0")


def test_an_interface_that_goes_is_none(host: Host) -> None:
    tree = host.tree()
    uses = host_dependencies.uses(Racing(tree.files, tree.links))
    assert not isinstance(uses, Unknown)
    assert {str(use.address) for use in uses} == {FIRST}


def test_a_closed_link_to_the_interface_above(host: Host) -> None:
    path = f"sys/devices/pci0000:19/{SECOND}/net/eth1/master"
    assert CLOSED in closed(host, path)


def test_a_closed_datapath_of_open_vswitch(host: Host) -> None:
    software.nic(host, "", "br-ex", 9)
    software.next_hops(host, "inet default dev br-ex")
    host.device("net/ovs-system", "net", {}, {"lower_eth1": "../none"})
    assert CLOSED in closed(host, f"{NET}/ovs-system")


def test_a_closed_number_of_a_vlans_interface(host: Host) -> None:
    host.device("net/eth1.7", "net", {"ifindex": "12\n", "iflink": "3\n"})
    software.next_hops(host, "inet default dev eth1.7")
    assert set(used(host)) == {SECOND}
    assert CLOSED in closed(host, real(host, f"{NET}/eth0/ifindex"))


def test_a_closed_card_of_an_iscsi_boot(host: Host) -> None:
    path = f"sys/devices/pci0000:19/{SECOND}"
    host.file("sys/firmware/ibft/ethernet0/flags", "3\n")
    host.link("sys/firmware/ibft/ethernet0/device", f"../../../../{path}")
    assert used(host)[SECOND] == {"iSCSI boot (iBFT ethernet0): "}
    assert CLOSED in closed(host, "sys/firmware/ibft/ethernet0/device")


@pytest.mark.parametrize(
    ("name", "flags", "is_used"),
    [
        ("ethernet0", "3", True),
        ("ethernet1", "1", True),
        ("ethernet1", "x", True),
        ("ethernet1", "2", False),
        ("ethernet1", "0", False),
        ("target0", "3", False),
    ],
)
def test_which_card_the_firmware_booted_over(
    host: Host, name: str, flags: str, *, is_used: bool
) -> None:
    """Only blocks of cards that the firmware filled in."""
    host.file(f"sys/firmware/ibft/{name}/flags", f"{flags}\n")
    path = f"../../../../sys/devices/pci0000:19/{SECOND}"
    host.link(f"sys/firmware/ibft/{name}/device", path)
    assert (SECOND in used(host)) == is_used


def test_a_physical_function_without_an_address(host: Host) -> None:
    host.link(f"sys/devices/pci0000:19/{FIRST}/physfn", "../elsewhere")
    assert "elsewhere" in unknown(host)


def test_routes_of_another_namespace(host: Host) -> None:
    """None of its interfaces is here; a guest's that just went is no sign."""
    software.next_hops(host, "inet 192.0.2.0/24 dev ens5")
    assert "ens5" in unknown(host)
    software.next_hops(
        host,
        "inet 192.0.2.0/24 dev eth0",
        "inet 198.51.100.7/32 dev cali0123",
    )
    assert set(used(host)) == {FIRST}


def first_hops(host: Host, state: str) -> None:
    software.routes(host, ["eth0"])
    host.device(
        f"/devices/pci0000:19/{SECOND}/net/eth1",
        "net",
        {"ifindex": "3\n", "iflink": "3\n", "operstate": f"{state}\n"},
    )


@pytest.mark.parametrize(
    ("state", "is_possible"),
    [("up", True), ("unknown", True), ("down", False), ("dormant", False)],
)
def test_states_of_a_possible_next_hop(
    state: str, *, is_possible: bool
) -> None:
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    nics(host, eth0=FIRST, eth1=SECOND)
    first_hops(host, state)
    assert (SECOND in used(host)) == is_possible


def test_a_closed_state_may_be_any() -> None:
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    nics(host, eth0=FIRST, eth1=SECOND)
    first_hops(host, "down")
    tree = host.tree()
    path = f"sys/devices/pci0000:19/{SECOND}/net/eth1/operstate"
    files = {key: data for key, data in tree.files.items() if key != path}
    hidden = RecordedTree(files, tree.links, tree.folders, {path: CLOSED})
    uses = host_dependencies.uses(hidden)
    assert not isinstance(uses, Unknown)
    assert SECOND in {str(use.address) for use in uses}
    assert CLOSED in closed_names(host)


def closed_names(host: Host) -> str:
    tree = host.tree()
    path = f"sys/devices/pci0000:19/{SECOND}/net/eth1/bonding/slaves"
    hidden = RecordedTree(
        {
            **tree.files,
            "proc/1/net/ipv6_route": (
                f"{'fe80':0<32} 40 {'0' * 32} 00 {'0' * 32} 00000100 00000001"
                " 00000000 00000001 eth1\n"
            ).encode(),
        },
        tree.links,
        tree.folders,
        {path: CLOSED},
    )
    return str(host_dependencies.uses(hidden))


def test_the_file_among_the_interfaces_is_none(host: Host) -> None:
    host.file(f"{NET}/bonding_masters", "bond0\n")
    assert set(used(host)) == {FIRST}

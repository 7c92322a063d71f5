"""What the host needs goes to no guest, whatever the ledger has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import address, selector
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    UnitFunction,
    UnitKey,
)
from tests.functional.hooked import AUDIO, GPU, HOST, HookedHost, xml
from tests.trees import reported, software
from tests.trees.host import Host

# Of the seed's host: the controller of its root disk, and the network card
# of its default route.
SATA, NIC = "0000:00:1f.2", "0000:01:00.0"
_ADVICE = ("vfio-pci", "host enable", "inventory sync", "managed=")


def hooked(folder: Path, described: Host | None = None) -> HookedHost:
    made = HookedHost(folder, described)
    made.install()
    return made


def refusal(host: HookedHost, text: str) -> str:
    done = host.call(text)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert not any(words in done.stderr for words in _ADVICE)
    return done.stderr


@pytest.mark.parametrize("managed", ["yes", "no"])
@pytest.mark.parametrize(
    ("place", "use"), [(SATA, "mount /"), (NIC, "default route (eno1)")]
)
def test_root_disk_and_default_route(
    tmp_path: Path, place: str, use: str, managed: str
) -> None:
    host = hooked(tmp_path)
    message = refusal(host, xml(place, managed=managed))
    assert place in message
    assert use in message
    # A guest that runs with it is not killed by a restart of libvirt.
    assert host.call(xml(place), "reconnect").returncode == 0


def test_a_ledger_that_offers_it_changes_nothing(tmp_path: Path) -> None:
    host = hooked(tmp_path)
    policy = Policy((selector.parse("class=03*"),))
    units = host_snapshot.read(HostTree(str(tmp_path)), policy).units(HOST)
    parsed = address.parse(NIC)
    nic = UnitFunction(
        parsed, 0x8086, 0x1521, 0x020000, DeviceType.PF, is_primary=True
    )
    forged = dataclasses.replace(
        units[0], key=UnitKey(HOST, parsed), functions=(nic,)
    )
    ledger = host.ledger()
    ledger.publish(HOST, (*units, forged))
    ledger.close()
    assert "default route" in refusal(host, xml(NIC))
    assert host.states()[NIC] == ("free", None)


def shared(driver: str = "r8169") -> Host:
    """A card and the host's network card in one group."""
    host = reported.host(
        f"""
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0300 10de:1b80 group=1 driver=nouveau under=00:01.0
        01:00.1 0403 10de:10f0 group=1 driver=vfio-pci under=00:01.0
        00:1c.0 0604 8086:a294 group=5 below=02
        02:00.0 0200 10ec:8168 group=1 driver={driver} under=00:1c.0
        """
    )
    below = "/devices/pci0000:00/0000:00:1c.0/0000:02:00.0"
    software.nic(host, below, "enp2s0", 2)
    return host


def test_half_of_a_group_that_the_host_needs(tmp_path: Path) -> None:
    """The rest of it is not to be given to vfio-pci."""
    described = shared()
    software.next_hops(described, "inet default dev enp2s0")
    message = refusal(
        hooked(tmp_path, described), xml("0000:01:00.0", "0000:01:00.1")
    )
    assert "0000:02:00.0" in message
    assert "default route (enp2s0)" in message


def virtual(flags: str) -> Host:
    """A virtual function on a host whose default route is a tunnel's."""
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0200 15b3:1017 group=2 driver=mlx5_core under=00:01.0 vfs=8/1
        01:00.1 0200 15b3:1018 group=3 driver=mlx5_core under=00:01.0 \
physical=01:00.0
        """
    )
    below = "/devices/pci0000:00/0000:00:01.0/0000:01:00.1"
    host.device(f"{below}/net/enp1s0v0", "net", {"flags": f"{flags}\n"})
    host.device("net/wg0", "net", {"ifindex": "9\n", "iflink": "9\n"})
    software.next_hops(host, "inet default dev wg0")
    return host


@pytest.mark.parametrize(("flags", "status"), [("0x1003", 1), ("0x1002", 0)])
def test_where_the_uses_are_unknown(
    tmp_path: Path, flags: str, status: int
) -> None:
    """What is up may carry the host; what is down does not."""
    host = hooked(tmp_path, virtual(flags))
    done = host.call(xml("0000:01:00.1"))
    assert done.returncode == status, done.stderr
    assert ("wg0" in done.stderr) == bool(status)


def test_a_running_guest_is_no_need_of_the_hosts(tmp_path: Path) -> None:
    """Its cards are on vfio-pci, and its disks are not mounted."""
    host = hooked(tmp_path)
    for _ in range(2):
        done = host.call(xml(GPU, AUDIO))
        assert (done.returncode, done.stderr) == (0, "")

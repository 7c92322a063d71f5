"""Disks that a host reaches over a network, in hosts of public reports."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery import host_dependencies, recorded_tree
from gpu_passthrough_plugin.model.reading import Unknown
from tests.trees import installed, software
from tests.trees.host import Host
from tests.trees.host_uses import nics, unknown, used

ROOT = {"/": ("8:0", "/dev/sda", "ext4")}


@pytest.fixture
def host() -> Host:
    """A host without disks and swap; it has a NIC for its default route."""
    host = Host()
    software.swaps(host)
    software.mounts(host, {})
    software.next_hops(host, "inet default dev eth1")
    nics(host, eth0="0000:19:00.0", eth1="0000:19:00.1")
    return host


def portal(host: Host, **address: str) -> None:
    software.iscsi_disk(host, "sda", "8:0", 1, **address)
    software.mounts(host, ROOT)


def test_an_iscsi_root_below_multipath_and_lvm(host: Host) -> None:
    """canonical/cloud-init#6921: attached by the firmware's first NIC."""
    nics(host, eno1="0000:17:00.0")
    disks = [
        software.iscsi_disk(
            host, f"sd{letter}", f"8:{16 * n}", n + 1, address="169.254.0.2"
        )
        for n, letter in enumerate("ab")
    ]
    mpath = software.mapped(host, 0, "mpatha", disks)
    software.mapped(host, 1, "ocivolume-root", [mpath])
    software.mounts(
        host, {"/": ("253:1", "/dev/mapper/ocivolume-root", "xfs")}
    )
    software.next_hops(
        host, "inet default dev eth1", "inet 169.254.0.0/16 dev eno1"
    )
    host.file("sys/firmware/ibft/ethernet0/flags", "3\n")
    host.file("sys/firmware/ibft/ethernet1/flags", "0\n")
    host.link(
        "sys/firmware/ibft/ethernet0/device",
        "../../../devices/pci0000:17/0000:17:00.0",
    )
    assert used(host)["0000:17:00.0"] == {
        "mount / (/dev/mapper/ocivolume-root):"
        " eno1 session2 sdb mpatha ocivolume-root",
        "iSCSI boot (iBFT ethernet0): ",
        "route (eno1): eno1",
    }


def test_every_path_of_a_san() -> None:
    """lxc/incus-os#807: root, swap and EFI partition over two adapters."""
    host = Host()
    software.next_hops(host)
    disks: list[str] = []
    for number in (0, 1):
        adapter = host.function(f"0000:3b:00.{number}", "1077:2261", "0c0400")
        for path in (0, 1):
            rport = f"{adapter}/host{number}/rport-{number}:0-{path}"
            letter = "abcd"[2 * number + path]
            disks.append(
                software.disk(
                    host,
                    f"{rport}/target{number}:0:{path}/block",
                    f"sd{letter}",
                    f"8:{16 * len(disks)}",
                )
            )
    software.disk(host, disks[0], "sda1", "8:1")
    mpath = software.mapped(host, 0, "mpatha", disks)
    software.mapped(host, 1, "system-swap", [mpath])
    software.mounts(
        host,
        {
            "/": ("253:0", "/dev/mapper/mpatha", "xfs"),
            "/boot/efi": ("8:1", "/dev/sda1", "vfat"),
        },
    )
    software.swaps(host, "/dev/mapper/system-swap")
    needed = used(host)
    assert set(needed) == {"0000:3b:00.0", "0000:3b:00.1"}
    assert needed["0000:3b:00.1"] == {
        "mount / (/dev/mapper/mpatha): sdd mpatha",
        "swap (/dev/mapper/system-swap): sdd mpatha system-swap",
    }
    assert "mount /boot/efi (/dev/sda1): sda sda1" in needed["0000:3b:00.0"]


def test_an_iscsi_root_over_a_nic_for_storage(host: Host) -> None:
    """xapi-project/xcp-networkd#190: no default route goes over it."""
    portal(host, address="192.168.50.10")
    software.next_hops(
        host, "inet default dev eth1", "inet 192.168.50.0/24 dev eth0"
    )
    assert (
        "mount / (/dev/sda): eth0 session1 sda" in used(host)["0000:19:00.0"]
    )
    assert used(host)["0000:19:00.1"] == {"default route (eth1): eth1"}


@pytest.mark.parametrize(
    ("files", "is_followed"),
    [
        ({"address": "192.0.2.9"}, True),
        ({"persistent_address": "192.0.2.9"}, True),
        ({"address": "<NULL>", "persistent_address": "192.0.2.9"}, True),
        ({"address": "fe80::1%eth1"}, True),
        ({"persistent_address": "san.example.org"}, False),
        ({"address": "2001:db8::9"}, False),
        ({}, False),
    ],
)
def test_a_portal_of_which_little_is_known(
    host: Host, files: dict[str, str], is_followed: bool
) -> None:
    portal(host, **files)
    if is_followed:
        ways = used(host)["0000:19:00.1"]
        assert "mount / (/dev/sda): eth1 session1 sda" in ways
    else:
        assert unknown(host).startswith(("missing (mount /", "malformed"))


def test_a_session_without_connections_is_unknown(host: Host) -> None:
    bus = "/devices/platform/host1/session1/target1:0:0/1:0:0:1/block"
    software.disk(host, bus, "sda", "8:0")
    software.mounts(host, ROOT)
    assert "session1" in unknown(host)


def test_an_adapter_that_has_the_session_itself(host: Host) -> None:
    adapter = host.function("0000:3b:00.0", "1077:8022", "028000")
    bus = f"{adapter}/host1/session1/target1:0:0/1:0:0:1/block"
    software.disk(host, bus, "sda", "8:0")
    software.mounts(host, ROOT)
    assert used(host)["0000:3b:00.0"] == {"mount / (/dev/sda): sda"}


def test_a_target_of_the_host_itself_needs_no_nic(host: Host) -> None:
    """Longhorn's volumes are iSCSI disks of a process on the host."""
    portal(host, address="127.0.0.1")
    assert set(used(host)) == {"0000:19:00.1"}
    software.nic(host, "", "cni0", 9)
    portal(host, address="10.52.0.15")
    software.next_hops(
        host, "inet default dev eth1", "inet 10.52.0.0/24 dev cni0"
    )
    assert set(used(host)) == {"0000:19:00.1"}


def test_disks_over_tcp_a_zram_and_a_stick(host: Host) -> None:
    """NVMe/TCP root: dracutdevs/dracut#2184, linux-nvme/nvme-cli#2620."""
    nics(host, enp65s0f0="0000:41:00.0")
    remote = software.nvme_over(
        host,
        "nvme0",
        "tcp",
        "traddr=10.1.1.5,trsvcid=4420,host_iface=enp65s0f0",
    )
    software.disk(host, remote, "nvme0n1p2", "259:2")
    local = host.function("0000:01:00.0", "144d:a80a", "010802")
    software.disk(host, f"{local}/nvme/nvme1/nvme1n1", "nvme1n1p3", "259:7")
    usb = host.function("0000:00:14.0", "8086:a36d", "0c0330")
    stick = f"{usb}/usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0/block/sdb"
    software.disk(host, stick, "sdb1", "8:17")
    software.disk(host, "block", "zram0", "252:0")
    software.mounts(
        host,
        {
            "/": ("259:2", "/dev/nvme0n1p2", "ext4"),
            "/boot/efi": ("8:17", "/dev/sdb1", "vfat"),
        },
    )
    software.swaps(host, "/dev/zram0", "/dev/nvme1n1p3")
    assert used(host) == {
        "0000:41:00.0": {
            "mount / (/dev/nvme0n1p2): enp65s0f0 nvme0 nvme0n1p2"
        },
        "0000:01:00.0": {"swap (/dev/nvme1n1p3): nvme1 nvme1n1 nvme1n1p3"},
        "0000:00:14.0": {"mount /boot/efi (/dev/sdb1): sdb sdb1"},
        "0000:19:00.1": {"default route (eth1): eth1"},
    }


@pytest.mark.parametrize(
    ("transport", "address", "names"),
    [
        ("rdma", "traddr=192.0.2.9,trsvcid=4420", "0000:19:00.1"),
        ("fc", "traddr=pn-0x2,host_traddr=nn-0x3:pn-0x21a", "0000:3b:00.0"),
        ("fc", "traddr=pn-0x2,host_traddr=nn-0x3:pn-0x21b", None),
        ("fc", "traddr=nn-0x1:pn-0x2", None),
        ("loop", "", None),
        ("tcp", "", None),
        ("tcp", "traddr=192.0.2.9,host_iface=gone0", None),
    ],
)  # fmt: skip
def test_nvme_over_fabrics(
    host: Host, transport: str, address: str, names: str | None
) -> None:
    adapter = host.function("0000:3b:00.0", "1077:2261", "0c0400")
    host.device(
        f"{adapter}/host7/fc_host/host7", "fc_host", {"port_name": "0x21a\n"}
    )
    remote = software.nvme_over(host, "nvme0", transport, address)
    subsystem = host.device(
        "nvme-subsystem/nvme-subsys0",
        "nvme-subsystem",
        {},
        {"nvme0": f"/sys{remote}"},
    )
    software.disk(host, subsystem, "nvme0n1", "259:0")
    software.mounts(host, {"/": ("259:0", "/dev/nvme0n1", "ext4")})
    if names is None:
        assert "nvme0" in unknown(host)
    else:
        assert any("mount /" in way for way in used(host)[names])


def test_fibre_channel_and_ata_over_ethernet(host: Host) -> None:
    vlan = "/devices/virtual/net/eth0.5"
    nic = "/sys/devices/pci0000:19/0000:19:00.0/net/eth0"
    software.nic(host, "", "eth0.5", 9, lower_eth0=nic)
    software.disk(host, f"{vlan}/ctlr_0/host5/rport-5:0-0/block", "sda", "8:0")
    software.mounts(host, ROOT)
    assert used(host)["0000:19:00.0"] == {
        "mount / (/dev/sda): eth0 eth0.5 sda"
    }
    host.device(
        "block/etherd!e1.1",
        "block",
        {"dev": "152:16\n", "netif": "eth0 eth1\n"},
    )
    software.mounts(host, {"/": ("152:16", "/dev/etherd/e1.1", "ext4")})
    assert {"0000:19:00.0", "0000:19:00.1"} == set(used(host))
    host.device("block/etherd!e1.1", "block", {"dev": "152:16\n"})
    assert "netif" in unknown(host)


ZEROS = "0" * 32
DUMPED = {
    "rtnetlink/routes": (
        "inet default dev eth1 table 254\n"
        "inet 192.168.50.0/24 dev eth0 table 254\n"
        "inet 10.1.0.0/16 dev eth1 table 254\n"
        "inet6 default dev eth1 table 254\n"
        "inet6 fd15:3c7e:0:0:0:0:0:0/64 dev eno1 table 254\n"
    )
}
TABLES = {
    "proc/1/net/route": (
        "Iface\tDestination\n"
        "eth1\t00000000\t0132A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0032A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    ),
    "proc/1/net/ipv6_route": (
        f"fd153c7e{'0' * 24} 40 {ZEROS} 00 {ZEROS} 0 0 0 00000001 eno1\n"
        f"fe80{'0' * 28} 40 {ZEROS} 00 {ZEROS} 0 0 0 00000001 eth9\n"
    ),
}


@pytest.mark.parametrize("files", [DUMPED, TABLES])
def test_a_recording_says_the_same_without_addresses(
    files: dict[str, str],
) -> None:
    host = Host()
    software.swaps(host)
    nics(host, eth0="0000:19:00.0", eth1="0000:19:00.1", eno1="0000:17:00.0")
    nics(host, eth9="0000:18:00.0")
    software.iscsi_disk(
        host,
        "sda",
        "8:0",
        1,
        address="192.168.50.10",
        persistent_address="s3cret.example.org",
    )
    remote = software.nvme_over(
        host, "nvme0", "tcp", "traddr=fd15:3c7e::7,src_addr=fd15:3c7e::8"
    )
    software.disk(host, remote, "nvme0n1", "259:0")
    software.mounts(host, {**ROOT, "/data": ("259:0", "/dev/nvme0n1", "ext4")})
    for path, text in files.items():
        host.file(path, text)
    recorded = installed.recorded(host.tree())
    again = recorded_tree.parse(recorded, "again")
    uses = host_dependencies.uses(host.tree())
    assert not isinstance(uses, Unknown)
    assert {use.via for use in uses if "mount" in use.what} == {
        ("eth0", "session1", "sda"),
        ("eno1", "nvme0", "nvme0n1"),
    }
    assert host_dependencies.uses(again) == uses
    assert installed.recorded(again) == recorded
    text = recorded.decode().lower()
    for secret in ("192.168.50", "32a8c0", "10.1.", "s3cret", "3c7e"):
        assert secret not in text


def test_a_recording_hides_names_of_ports_and_files(host: Host) -> None:
    adapter = host.function("0000:3b:00.0", "1077:2261", "0c0400")
    host.device(
        f"{adapter}/host7/fc_host/host7", "fc_host", {"port_name": "0x21a\n"}
    )
    software.disk(
        host,
        software.nvme_over(
            host, "nvme0", "fc", "traddr=nn-0x1:pn-0x2,host_traddr=pn-0x21a"
        ),
        "nvme0n1",
        "259:0",
    )
    host.device(
        "block/loop0",
        "block",
        {"dev": "7:0\n", "loop/backing_file": "/home/s3cret.img\n"},
    )
    software.mounts(
        host,
        {
            "/": ("259:0", "/dev/nvme0n1", "ext4"),
            "/snap": ("7:0", "/dev/loop0", "squashfs"),
        },
    )
    recorded = installed.recorded(host.tree())
    again = recorded_tree.parse(recorded, "again")
    assert host_dependencies.uses(again) == host_dependencies.uses(host.tree())
    assert "0000:3b:00.0" in used(host)
    assert b"s3cret" not in recorded
    assert b"0x21a" not in recorded

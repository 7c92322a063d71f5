"""What a recording keeps of files that hold more than is used."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.redact import pseudonyms, trimmed
from gpu_passthrough_plugin.model.identifiers import HIDDEN
from tests.trees import config_space

ALIASES = b"""alias pci:v000010DEd00001430sv*sd*bc*sc*i* nouveau
alias pci:v000010DEd00009999sv*sd*bc*sc*i* other
alias vfio_pci:v000015B3d*sv*sd*bc*sc*i* mlx5_vfio_pci
alias usb:v1D6Bp0002 hub
"""
MODALIAS = "pci:v000010DEd00001430sv000010DEsd00001190bc03sc00i00"


@pytest.mark.parametrize(
    ("path", "data", "kept"),
    [
        (
            "lib/modules/6.1/modules.builtin",
            b"kernel/drivers/vfio/vfio.ko\nkernel/fs/ext4/ext4.ko\n",
            b"kernel/drivers/vfio/vfio.ko\n",
        ),
        (
            "lib/modules/6.1/modules.dep",
            b"kernel/drivers/vfio/vfio.ko: kernel/x.ko\nkernel/a.ko:\n",
            b"kernel/drivers/vfio/vfio.ko:\n",
        ),
        (
            "boot/grub/grub.cfg",
            b"password_pbkdf2 root grub.pbkdf2.x\n  linux /vmlinuz quiet\n",
            b"  linux /vmlinuz quiet\n",
        ),
        (
            "proc/cpuinfo",
            b"processor: 0\nvendor_id\t: GenuineIntel\nserial: 1\n",
            b"vendor_id\t: GenuineIntel\n",
        ),
        (
            "proc/cpuinfo",
            b"isa: rv64\nSerial: 0000000012345678\n",
            b"isa: rv64\n",
        ),
        (
            "run/udev/data/b8:0",
            b"S:disk/by-id/ata-WD-1\nE:ID_SERIAL=WD-1\n"
            b"E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n",
            b"E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n",
        ),
        (
            "run/udev/data/b8:1",
            b"E:ID_SERIAL=WD-1\nE:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=jane\n",
            b"",
        ),
        (
            "proc/1/mountinfo",
            b"1 0 0:30 / / rw,x shared:1 - nfs4 srv:/x rw,addr=192.0.2.1\n"
            b"2 1 8:1 /sub /mnt rw - ext4 /dev/sda1 rw,x\n"
            b"4 1 8:2 / /srv rw,y - xfs /dev/sda2 rw,logdev=/dev/sdb,x\n"
            b"3 1 0:22 / /tmp rw - tmpfs tmpfs rw\n",
            b"1 0 0:30 / / rw - nfs4 none rw\n"
            b"2 1 8:1 /sub /mnt rw - ext4 /dev/sda1 rw\n"
            b"4 1 8:2 / /srv rw - xfs /dev/sda2 rw,logdev=/dev/sdb\n",
        ),
        ("etc/zebra.conf", b"kept = whole\n", b"kept = whole\n"),
    ],
)
def test_lines_that_are_used_stay(path: str, data: bytes, kept: bytes) -> None:
    assert trimmed(path, data, ()) == kept


MOUNT = b"2 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
IPV4 = b"Iface\tDestination\neno1\t0000A8C0\t0\t0001\t0\t0\t0\t0000FFFF\n"
IPV6 = b"fd00%s 40 0 00 0 0 0 0 00000001 eno1\n" % (b"0" * 28)


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        (
            "proc/1/mountinfo",
            MOUNT,
            b"3 1 0:9 / /s3cret rw nfs4 srv:/s3cret\n",
        ),
        ("proc/1/net/route", IPV4, b"eno1\t0764A8C0s3cret\n"),
        ("proc/1/net/route", IPV4, b"s3cret 1 2 zz 4 5 6 7 8\n"),
        ("proc/1/net/ipv6_route", IPV6, b"fd00s3cret 40\n"),
        (
            "rtnetlink/routes",
            b"inet 10.7.0.0/16 dev eno1 table 254\n",
            b"inet s3cret\n",
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_hidden(
    path: str, good: bytes, bad: bytes
) -> None:
    """The reader refuses the whole file all the same."""
    for data in (good + bad, bad + good):
        kept = trimmed(path, data, ())
        assert b"s3cret" not in kept
        assert b"A8C0" not in kept
        assert b"10.7" not in kept
        assert b"fd00" not in kept
        assert HIDDEN.encode() in kept
    with_disks = trimmed(path, good + bad, (), {"10.7.0.7": "198.18.0.1"})
    assert b"s3cret" not in with_disks


def test_a_destination_that_is_no_network_is_hidden() -> None:
    text = b"inet 300.0.0.0/8 dev eno1 table 254\n"
    disks = {"10.7.0.7": "198.18.0.1"}
    assert trimmed("rtnetlink/routes", text, (), disks) == b"REDACTED\n"


def test_aliases_of_the_functions_and_of_vfio_drivers_stay() -> None:
    kept = trimmed("lib/modules/6.1/modules.alias", ALIASES, [MODALIAS])
    assert [line.split()[-1] for line in kept.decode().splitlines()] == [
        "nouveau",
        "mlx5_vfio_pci",
    ]


def test_networks_addresses_go_and_interfaces_stay() -> None:
    ipv4 = (
        b"Iface\tDestination\n"
        b"eno1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        b"eno1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    kept = trimmed("proc/1/net/route", ipv4, ()).decode()
    assert "A8C0" not in kept
    assert kept.count("eno1") == 1
    ipv6 = b"fd00%s 40 %s 00 %s 0 0 0 00000001     eno1\n" % (
        b"0" * 28,
        b"0" * 32,
        b"f" * 32,
    )
    kept = trimmed("proc/1/net/ipv6_route", ipv6, ()).decode()
    assert "fd00" not in kept
    assert "ffff" not in kept
    assert kept.split()[-1] == "eno1"


ISCSI = "sys/devices/platform/host1/session1/connection1:0/iscsi_connection"
NVME = "sys/devices/virtual/nvme-fabrics/ctl/nvme0/address"


@pytest.mark.parametrize(
    ("path", "address", "pseudonym"),
    [
        (f"{ISCSI}/connection1:0/address", "10.7.0.7", "198.18.0.1"),
        (f"{ISCSI}/connection1:0/persistent_address", "fd00::7", "3fff::1"),
        (f"{ISCSI}/connection1:0/address", "127.0.0.1", "127.0.0.1"),
        (f"{ISCSI}/connection1:0/address", "::1", "::1"),
        (f"{ISCSI}/connection1:0/address", "fe80::7%eno1", "fe80::1%eno1"),
        (f"{ISCSI}/connection1:0/address", "disks.example", "hidden"),
        ("sys/class/fc_host/host1/port_name", "0x21000024ff", "0x" + "0" * 16),
    ],
)
def test_addresses_of_disks_have_pseudonyms(
    path: str, address: str, pseudonym: str
) -> None:
    files = {path: f"{address}\n".encode()}
    names = pseudonyms(files)
    assert names == {address: pseudonym}
    assert trimmed(path, files[path], (), names) == f"{pseudonym}\n".encode()


def test_the_address_of_an_nvme_disk_has_a_pseudonym() -> None:
    text = b"traddr=10.7.0.7,trsvcid=4420,host_traddr=10.7.0.8\n"
    names = pseudonyms({NVME: text})
    assert names == {"10.7.0.7": "198.18.0.1"}
    assert trimmed(NVME, text, (), names) == b"traddr=198.18.0.1\n"
    assert pseudonyms({"sys/devices/x/address": text}) == {}


def test_only_config_space_is_read_as_such() -> None:
    config = config_space.port(6, (0x5F, 0x1D), has_serial_number=True)
    serial = bytes.fromhex("efbeadde")
    path = "sys/devices/pci0000:00/0000:00:02.0/config"
    assert serial in config
    assert serial not in trimmed(path, config, ())
    assert trimmed(path.replace("config", "vendor"), b"0x8086\n", ()) == (
        b"0x8086\n"
    )
    assert trimmed("etc/x/config", b"a = b\n" * 99, ()) == b"a = b\n" * 99

"""What a recording keeps of files that hold more than is used."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.redact import trimmed

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
        ("proc/cpuinfo", b"isa: rv64\n", b"isa: rv64\n"),
        ("proc/1/mountinfo", b"damaged\n", b"damaged\n"),
        ("proc/1/net/route", b"head\ndamaged\n", b"head\ndamaged\n"),
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

"""Hosts of public reports where vfio-pci takes what somebody wrote."""

from __future__ import annotations

import pytest

from tests.trees import reported, software
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    everything,
    planned,
    select,
    told,
    verdict,
    verified,
)

_MODPROBE = "etc/modprobe.d/vfio.conf"


def twin_cards() -> Host:
    """archlinux/mkinitcpio#98: two equal cards, the host lives on one."""
    return reported.debian(
        reported.host(
            """
            00:01.0 0604 8086:1901 group=1 below=08
            00:01.1 0604 8086:1905 group=2 below=09
            08:00.0 0300 10de:1b81 group=20 driver=nvidia under=00:01.0 vga=1
            08:00.1 0403 10de:10f0 group=20 driver=snd_hda_intel under=00:01.0
            09:00.0 0300 10de:1b81 group=21 driver=nvidia under=00:01.1 vga=0
            09:00.1 0403 10de:10f0 group=21 driver=snd_hda_intel under=00:01.1
            """,
            files={_MODPROBE: "options vfio-pci ids=10de:1b81,10de:10f0\n"},
            consoles=("tty0",),
        )
    )


def test_ids_that_take_the_hosts_twin_are_refused() -> None:
    said = planned(twin_cards(), policy=select("0000:09:00.0"))
    assert said.startswith("refused")
    assert f"/{_MODPROBE}:1" in said
    assert "0000:08:00.0" in said


def script_and_ids() -> Host:
    """pavolelsig/passthrough_helper_manjaro#5: a script takes displays."""
    return reported.host(
        """
        00:03.0 0604 8086:6f08 group=1 below=08
        80:02.0 0604 8086:6f04 group=30 below=82
        80:03.0 0604 8086:6f08 group=31 below=85
        08:00.0 0300 10de:1b80 group=20 driver=vfio-pci under=00:03.0
        85:00.0 0300 10de:1b80 group=41 driver=vfio-pci under=80:03.0
        82:00.0 0108 126f:2263 group=40 driver=nvme under=80:02.0
        """,
        arguments="intel_iommu=on rd.driver.pre=vfio-pci",
        files={
            _MODPROBE: (
                "install vfio-pci /usr/bin/vfio-pci-override.sh\n"
                "options vfio-pci disable_vga=1 ids=126f:2263\n"
            )
        },
    )


def test_a_script_and_ids_are_both_takers() -> None:
    host = script_and_ids()
    log = (
        "vfio_pci: unknown parameter 'disable_vga' ignored",
        "vfio_pci: add [126f:2263[ffffffff:ffffffff]] class 0x000000/00000000",
    )
    disk = told(verified(host, log=log)["82:00.0"])
    assert "competing-driver" in disk and "nvme" in disk
    assert "modprobe-unread" not in disk
    assert "run modprobe vfio-pci" not in disk
    plan = planned(reported.debian(host), policy=select("126f:2263"))
    assert f"/{_MODPROBE}:1" in plan


def booster() -> Host:
    """anatol/booster#20: the image loads amdgpu before vfio-pci."""
    return reported.host(
        """
        00:03.1 0604 1022:1453 group=1 below=0a
        0a:00.0 0300 1002:67df group=20 driver=amdgpu under=00:03.1
        0a:00.1 0403 1002:aaf0 group=20 driver=snd_hda_intel under=00:03.1
        """,
        cpu="amd",
        arguments="vfio-pci.ids=1002:67df,1002:aaf0",
        files={"etc/booster.yaml": "network: {}\n"},
    )


def test_ids_on_the_command_line_are_right_and_late() -> None:
    rows = verified(booster(), policy=select("1234:*"))
    assert list(rows) == ["0a:00.0", "0a:00.1"]
    said = told(rows["0a:00.0"])
    assert "competing-driver" in said and "amdgpu" in said
    assert "not-enabled" not in said and "misspelt" not in said


def built_in() -> Host:
    """clayfreeman/gpu-passthrough#3, 64kramsystem/vga-passthrough#35."""
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0300 10de:1c03 group=1 driver=nvidia under=00:01.0
        01:00.1 0403 10de:10f1 group=1 driver=snd_hda_intel under=00:01.0
        """,
        release="5.4.0-42-generic",
        arguments="quiet splash intel_iommu=on",
        files={
            _MODPROBE: (
                "options vfio-pci ids=10de:1c03,10de:10f1\n"
                "softdep nvidia pre: vfio-pci\n"
            ),
            "lib/modules/5.4.0-42-generic/modules.builtin": (
                "kernel/drivers/vfio/pci/vfio-pci.ko\n"
            ),
            "lib/modules/5.4.0-42-generic/vmlinuz": "a kernel\n",
        },
    )
    return host


def test_options_of_a_driver_that_is_built_in() -> None:
    row = verified(built_in(), policy=select("10de:1c03"))["01:00.0"]
    said = told(row)
    assert "builtin-vfio [certain]" in said
    assert f"/{_MODPROBE}:1" in said
    assert "vfio-pci.ids=10de:1c03,10de:10f1 to the kernel command" in said
    (cause,) = (c for c in row.causes if c.name == "builtin-vfio")
    assert "initramfs" not in cause.fix
    assert "vfio-missing" not in said


def blanks() -> Host:
    """PassthroughPOST/VFIO-Tools#2: a blank after each comma."""
    return reported.host(
        """
        00:01.0 0604 8086:1901 group=1 below=01
        01:00.0 0300 10de:1b81 group=1 driver=vfio-pci under=00:01.0
        01:00.1 0403 10de:10f0 group=1 driver=snd_hda_intel under=00:01.0
        """,
        files={_MODPROBE: "options vfio-pci ids=10de:1b81, 10de:10f0\n"},
    )


def test_blanks_between_ids() -> None:
    log = (
        "vfio_pci: unknown parameter '10de:10f0' ignored",
        "vfio_pci: add [10de:1b81[ffffffff:ffffffff]] class 0x000000/00000000",
    )
    said = told(verified(blanks(), log=log)["01:00.1"])
    assert f"/{_MODPROBE}:1" in said
    assert "ids=10de:1b81,10de:10f0" in said
    assert "certain" in said


def two_cards_in_a_group() -> Host:
    """pavolelsig/passthrough_helper_ubuntu_20#2: a laptop with SLI."""
    return reported.debian(
        reported.host(
            """
            00:01.0 0604 8086:1901 group=1 driver=pcieport below=01
            00:01.1 0604 8086:1905 group=1 driver=pcieport below=02
            01:00.0 0300 10de:1ba1 group=1 driver=nvidia under=00:01.0 vga=1
            01:00.1 0403 10de:10f0 group=1 driver=snd_hda_intel under=00:01.0
            02:00.0 0300 10de:1ba1 group=1 driver=nvidia under=00:01.1 vga=0
            02:00.1 0403 10de:10f0 group=1 driver=snd_hda_intel under=00:01.1
            """,
            arguments="vfio-pci.ids=10de:1ba1,10de:10f0",
            consoles=("tty0",),
        )
    )


def test_a_card_in_the_consoles_group_stays() -> None:
    host = two_cards_in_a_group()
    said = verdict(host, "02:00.0")
    assert said.startswith("blocked")
    assert "only-console" in said and "0000:01:00.0" in said
    assert planned(host, policy=select("02:00.0")).startswith("refused")


def shared_audio() -> Host:
    """thenickdude/KVM-Opencore#30: both cards' audio is 1002:aaf0."""
    return reported.debian(
        reported.host(
            """
            00:03.1 0604 1022:1453 group=1 below=0b
            00:03.2 0604 1022:1453 group=2 below=0c
            0b:00.0 0300 1002:67c4 group=20 driver=vfio-pci under=00:03.1
            0b:00.1 0403 1002:aaf0 group=20 driver=vfio-pci under=00:03.1
            0c:00.0 0300 1002:67df group=21 driver=amdgpu under=00:03.2 vga=1
            0c:00.1 0403 1002:aaf0 group=21 driver=snd_hda_intel under=00:03.2
            """,
            cpu="amd",
            files={_MODPROBE: "options vfio-pci ids=1002:67c4,1002:aaf0\n"},
        )
    )


def test_the_hosts_audio_of_the_same_ids_is_named() -> None:
    said = planned(shared_audio(), policy=select("1002:67c4"))
    assert "0000:0c:00.1" in said
    assert f"/{_MODPROBE}:1" in said


def test_ids_of_nothing_that_is_selected_are_named() -> None:
    """They may be meant; selecting them is what says so."""
    said = planned(families("1344:51c0"), policy=select("10de:2bb1"))
    assert "0000:42:00.0" in said and "0000:c1:00.0" not in said


_FAMILIES = "1e60:2864,2646:5024,10de:2bb1,1022:7901,1cc1:8201,8086:2700"


def families(leg: str) -> Host:
    """gist scyto/305224b5e651f6d3c318744bfde99974: eleven of seven kinds."""
    host = reported.debian(
        reported.host(
            f"""
            00:01.1 0604 1022:1483 group=1 below=01
            00:01.2 0604 1022:1483 group=2 below=02
            00:01.3 0604 1022:1483 group=3 below=42
            00:01.4 0604 1022:1483 group=4 below=c1
            00:01.5 0604 1022:1483 group=5 below=21
            01:00.0 0b40 1e60:2864 group=20 driver=vfio-pci under=00:01.1
            02:00.0 0108 2646:5024 group=21 driver=vfio-pci under=00:01.2
            42:00.0 0106 1022:7901 group=22 driver=vfio-pci under=00:01.3
            21:00.0 0300 10de:2bb1 group=24 driver=vfio-pci under=00:01.5
            c1:00.0 0108 {leg} group=23 driver=nvme under=00:01.4
            """,
            cpu="amd",
            files={_MODPROBE: f"options vfio-pci ids={_FAMILIES}\n"},
        )
    )
    software.disk(
        host,
        "/devices/pci0000:00/0000:00:01.4/0000:c1:00.0/nvme/nvme0",
        "nvme0n1",
        "259:0",
    )
    software.mounts(host, {"/": ("259:0", "/dev/nvme0n1", "ext4")})
    return host


def test_ids_that_take_no_disk_of_the_host() -> None:
    every = select(*_FAMILIES.split(","))
    said = planned(families("1344:51c0"), policy=every)
    assert not said.startswith("refused")
    rows = verified(families("1344:51c0"), policy=select("1234:*"))
    assert list(rows) == ["01:00.0", "02:00.0", "21:00.0", "42:00.0"]


def test_ids_that_take_the_hosts_disk_are_refused() -> None:
    said = planned(families("2646:5024"), policy=select("10de:2bb1"))
    assert said.startswith("refused")
    assert "0000:c1:00.0" in said and f"/{_MODPROBE}:1" in said


@pytest.mark.parametrize(
    "host", [twin_cards, shared_audio, script_and_ids, booster, blanks]
)
def test_no_remedy_widens_ids_over_the_host(host: object) -> None:
    assert callable(host)
    said = everything(host())
    assert "new_id" not in said

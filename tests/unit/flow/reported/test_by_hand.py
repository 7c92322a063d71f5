"""Hosts of public reports that somebody set up without this product."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin.model.finding import Status
from tests.trees import boot, reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import select, told, verified

PORT = "00:01.0 0604 8086:1901 group=1 driver=pcieport below=01\n"
WITHOUT_VFIO = ("usr/lib/modules/ahci.ko",)
NOTHING = select("ffff:ffff")


def one_id_of_four() -> Host:
    """NVIDIA/kubevirt-gpu-device-plugin#45: a GTX 1660 SUPER by one id."""
    host = reported.host(
        f"""{PORT}
        01:00.0 0300 10de:21c4 group=1 under=00:01.0 vga=0
        01:00.1 0403 10de:1aeb group=1 driver=snd_hda_intel under=00:01.0
        01:00.2 0c03 10de:1aec group=1 driver=xhci_hcd under=00:01.0
        01:00.3 0c80 10de:1aed group=1 under=00:01.0
        """,
        arguments="intel_iommu=on modprobe.blacklist=nouveau",
        files={
            "etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:21c4\n",
            "etc/modules-load.d/vfio-pci.conf": "vfio\nvfio_pci\n",
        },
    )
    return reported.debian(host)


def test_ids_of_one_function_are_ids_of_a_card() -> None:
    rows = verified(one_id_of_four(), policy=NOTHING, image=WITHOUT_VFIO)
    answer = told(rows["01:00.0"])
    assert rows["01:00.0"].status is Status.FAIL
    assert "ids=10de:21c4,10de:1aeb,10de:1aec,10de:1aed" in answer
    assert "/etc/modprobe.d/vfio.conf" in answer
    assert "vfio-not-in-image" in answer


def empty_modules() -> Host:
    """uwzis/GPU-Passthrough-Manager#19: MODULES=() in mkinitcpio.conf."""
    ids = "10de:1f06,10de:10f9,10de:1ada,10de:1adb"
    host = reported.host(
        """
        06:00.0 0300 10de:1f06 group=16 vga=0
        06:00.1 0403 10de:10f9 group=16 driver=snd_hda_intel
        06:00.2 0c03 10de:1ada group=16 driver=xhci_hcd
        06:00.3 0c80 10de:1adb group=16 driver=nvidia-gpu
        """,
        cpu="amd",
        release="6.9.1-arch1-1",
        files={
            "etc/modprobe.d/vfio.conf": f"options vfio-pci ids={ids}\n",
            "etc/mkinitcpio.conf": "MODULES=()\nHOOKS=(base udev modconf)\n",
        },
    )
    boot.os_release(host, id="endeavouros", id_like="arch")
    boot.kernel(host, host.release, "initramfs-linux.img", package="linux")
    boot.tools(host, "usr/bin/mkinitcpio", "usr/bin/grub-mkconfig")
    return host


def test_an_image_without_vfio_lets_others_be_first() -> None:
    rows = verified(empty_modules(), policy=NOTHING, image=WITHOUT_VFIO)
    assert len(rows) == 4
    for row in rows.values():
        assert row.status is Status.FAIL
        assert "vfio-not-in-image" in told(row)
        assert "/boot/initramfs-linux.img" in told(row)


def audio_left_out() -> Host:
    """NVIDIA/kubevirt-gpu-device-plugin#27, kubevirt/kubevirt#6718."""
    host = reported.host(
        f"""{PORT}
        01:00.0 0300 10de:1392 group=1 driver=vfio-pci under=00:01.0 vga=0
        01:00.1 0403 10de:0fbc group=1 driver=snd_hda_intel under=00:01.0
        """
    )
    return reported.debian(host)


def eight_audio_functions() -> Host:
    """intel/tdx-linux#8: eight RTX 4090 D, each without its audio."""
    buses = ("28", "29", "2c", "31", "a8", "a9", "ac", "b1")
    rows = [
        f"{bus}:00.0 0300 10de:2685 group={n} driver=vfio-pci vga=0\n"
        f"{bus}:00.1 0403 10de:22ba group={n} driver=snd_hda_intel\n"
        for n, bus in enumerate(buses, 18)
    ]
    return reported.debian(reported.host("".join(rows)))


@pytest.mark.parametrize(
    "host, count", [(audio_left_out, 1), (eight_audio_functions, 8)]
)
def test_a_part_of_a_card_makes_no_viable_group(
    host: Callable[[], Host], count: int
) -> None:
    rows = verified(host(), policy=NOTHING)
    assert len(rows) == count
    for place, row in rows.items():
        assert row.status is Status.WARN
        (cause,) = row.causes
        assert cause.name == "group-shared"
        assert f"--select 0000:{place}'" in cause.fix


def misspelt_folder(folder: str) -> Host:
    """Uhh-IDontKnow/Proxmox_AMD_AI_Max_395#1: a guide's /etc/modeprobe.d."""
    ids = "1002:1586,1002:1640"
    host = reported.host(
        """
        c4:00.0 0380 1002:1586 group=20 driver=amdgpu
        c4:00.1 0403 1002:1640 group=20 driver=snd_hda_intel
        """,
        cpu="amd",
        files={f"{folder}/vfio.conf": f"options vfio-pci ids={ids}\n"},
    )
    return reported.debian(host)


@pytest.mark.parametrize("folder", ["etc/modeprobe.d", "etc/modprobe.conf.d"])
def test_a_folder_that_nothing_reads_is_named(folder: str) -> None:
    row = verified(misspelt_folder(folder))["c4:00.0"]
    answer = told(row)
    assert f"/{folder}/vfio.conf" in answer
    assert "modprobe does not read" in answer


def by_command_line() -> Host:
    """bryansteiner/gpu-passthrough-tutorial#3: works, without any file."""
    host = reported.host(
        """
        08:00.0 0300 10de:1e84 group=16 driver=vfio-pci vga=0
        08:00.1 0403 10de:10f8 group=16 driver=vfio-pci
        08:00.2 0c03 10de:1ad8 group=16 driver=vfio-pci
        08:00.3 0c80 10de:1ad9 group=16 driver=vfio-pci
        0b:00.0 0300 1002:67ff group=20 driver=amdgpu vga=1
        """,
        cpu="amd",
        arguments="vfio-pci.ids=10de:1e84,10de:10f8,10de:1ad8,10de:1ad9",
    )
    return reported.debian(host)


def detached_by_a_hook() -> Host:
    """bryansteiner/gpu-passthrough-tutorial#3: later, a hook took it."""
    host = reported.host(
        """
        08:00.0 0300 10de:1e84 group=16 vga=0
        08:00.1 0403 10de:10f8 group=16 driver=snd_hda_intel
        0b:00.0 0300 1002:67ff group=20 driver=amdgpu vga=1
        """,
        cpu="amd",
    )
    return reported.debian(host)


def test_what_works_by_hand_passes() -> None:
    rows = verified(by_command_line(), policy=NOTHING)
    assert set(rows) == {f"08:00.{number}" for number in range(4)}
    assert all(row.status is Status.PASS for row in rows.values())
    rows = verified(detached_by_a_hook())
    assert rows["08:00.0"].status is Status.FAIL
    assert "not-enabled" in told(rows["08:00.0"])
    assert "snd_hda_intel" in told(rows["08:00.1"])

"""Hosts of public reports on which a planned step has no effect."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.flow.enablement import EnableOptions
from tests.trees import boot, debian, redhat, reported
from tests.trees.host import Host
from tests.unit.flow.reported.answers import (
    enabled,
    everything,
    planned,
    select,
    told,
    verified,
)

_POP = "EFI/Pop_OS-00000001"


def pop_os(*, is_builtin: bool = False) -> Host:
    """pop-os/pop#872: the loader's entry has kernelstub's copy."""
    release = "5.4.0-7629-generic"
    host = reported.host(
        """
        00:01.0 0604 8086:1901 group=1 driver=pcieport below=28
        00:01.1 0604 8086:1905 group=2 driver=pcieport below=29
        28:00.0 0300 10de:1b81 group=20 driver=nvidia under=00:01.0
        29:00.0 0300 10de:1b81 group=21 driver=nvidia under=00:01.1 vga=1
        """,
        release=release,
        arguments="quiet iommu=on intel_iommu=on",
    )
    boot.os_release(host, id="pop", version_id="20.04", id_like="ubuntu")
    boot.kernel(
        host, release, f"initrd.img-{release}", is_vfio_builtin=is_builtin
    )
    boot.efi(host)
    boot.tools(
        host, "usr/bin/lsinitramfs", "usr/sbin/mkinitramfs",
        "usr/sbin/update-initramfs", "usr/bin/bootctl", "usr/bin/kernelstub",
    )  # fmt: skip
    host.file("etc/initramfs-tools/initramfs.conf", "MODULES=most\n")
    host.file("etc/initramfs-tools/modules", "# modules\n")
    host.file("boot/efi/loader/loader.conf", "default Pop_OS-current\n")
    host.file(
        "boot/efi/loader/entries/Pop_OS-current.conf",
        "title Pop!_OS\n"
        f"linux /{_POP}/vmlinuz.efi\n"
        f"initrd /{_POP}/initrd.img\n"
        "options root=UUID=00000001 ro quiet\n",
    )
    return host


def test_a_copy_of_the_image_that_nobody_makes_again() -> None:
    said = planned(pop_os(), policy=select("0000:28:00.0"))
    assert said.startswith("refused")
    assert "kernelstub" in said
    assert f"/{_POP}/initrd.img" in said


def test_a_driver_that_is_built_in_and_a_copy() -> None:
    """pop-os/pop#968: the early script's modprobe does nothing."""
    host = pop_os(is_builtin=True)
    policy = select("0000:28:00.0")
    assert "kernelstub" in planned(host, policy=policy)
    said = told(verified(host, policy=policy)["28:00.0"])
    assert "competing-driver" in said
    assert "vfio-not-in-image" not in said and "vfio-missing" not in said


def test_an_atomic_system_has_its_arguments_by_rpm_ostree() -> None:
    """secureblue/secureblue#182, ublue-os/bazzite#459, bluefin#2150."""
    said = planned(
        redhat.silverblue(),
        policy=select("class=03"),
        options=EnableOptions(binding="ids"),
    )
    assert "rpm-ostree" in said
    assert "dracut', '-f" not in said and "/usr/bin/dracut'" not in said
    assert "lib/modules/" not in said


@pytest.mark.parametrize("is_enabled_now", [False, True])
def test_arguments_that_an_image_takes_back(is_enabled_now: bool) -> None:
    """ublue-os/bluefin#902: its own service writes another list."""
    host = redhat.silverblue()
    host.file("proc/sys/kernel/random/boot_id", "5e1f\n")
    before = dataclasses.replace(
        enabled("04:00.0 10de:24b0", bootloader="rpm_ostree"),
        arguments=("rd.driver.pre=vfio-pci",),
        boot_id="5e1f" if is_enabled_now else "77aa",
    )
    row = verified(host, enabled=before, policy=select("0000:04:00.0"))[
        "04:00.0"
    ]
    said = told(row)
    if is_enabled_now:
        assert "not-rebooted" in said and "argument-removed" not in said
    else:
        assert "argument-removed" in said and "ostree-1.conf" in said
        assert "keep rd.driver.pre=vfio-pci" in said
        assert "not-rebooted" not in said


def virtual_functions() -> Host:
    """stackhpc/ansible-collection-linux#37: sriov-manage failed."""
    return reported.host(
        """
        16:00.0 0604 8086:347a group=50 driver=pcieport below=17
        17:00.0 0302 10de:20f1 group=51 under=16:00.0 vfs=16/0
        """
    )


def test_virtual_functions_that_nobody_made() -> None:
    host = virtual_functions()
    log = (
        "pci 0000:17:00.0: no driver bound to device; cannot configure SR-IOV",
    )
    # Class 0302, as its physical function.
    before = enabled("17:00.4 10de:20f1")
    (target,) = before.targets
    target = target._replace(class_code=0x030200)
    before = type(before)((target,), "address", (), "", {})
    said = told(verified(host, log=log, enabled=before)["17:00.4"])
    assert "0000:17:00.0" in said and log[0] in said
    assert "sriov_numvfs" in said
    assert "host enable" not in said


def test_a_driver_that_makes_none_while_its_link_is_down() -> None:
    """systemd/systemd#40739: udev sets the number before the link is up."""
    host = reported.host(
        """
        c0:01.0 0604 1022:14ab group=60 driver=pcieport below=c1
        c1:00.0 0200 14e4:1750 group=61 driver=bnxt_en under=c0:01.0 vfs=16/0
        """,
        cpu="amd",
    )
    line = (
        "bnxt_en 0000:c1:00.0 enp193s0f0: Reject SRIOV config request since if"
        " is down!"
    )
    before = enabled("c1:02.0 14e4:1806")
    (target,) = before.targets
    target = target._replace(class_code=0x020000)
    before = type(before)((target,), "address", (), "", {})
    said = told(verified(host, log=(line,), enabled=before)["c1:02.0"])
    assert line in said
    assert "host enable" not in said
    assert "seated" not in said


def test_proxmox_with_two_loaders() -> None:
    """strongtz/i915-sriov-dkms#208: GRUB on the partitions of ZFS."""
    said = planned(debian.proxmox_systemd_boot(), policy=select("class=03"))
    assert "/etc/default/grub" in said
    assert "/etc/kernel/cmdline" in said
    assert "proxmox-boot-tool', 'refresh'" in said


def unread_words() -> Host:
    """forums.unraid.net topic 196680: the words are in a file of syslinux."""
    return reported.host(
        """
        00:01.1 0604 1022:14db group=10 driver=pcieport below=01
        01:00.0 0300 10de:2805 group=14 under=00:01.1
        01:00.1 0403 10de:22bd group=14 under=00:01.1
        """,
        cpu="amd",
        files={
            "boot/syslinux/syslinux.cfg": (
                "append vfio-pci.ids=10de:2805,10de:22bd initrd=/bzroot\n"
            ),
        },
    )


def test_words_in_a_file_that_no_loader_reads() -> None:
    host = unread_words()
    row = verified(host)["01:00.0"]
    assert "not-enabled [certain]" in told(row)
    assert "syslinux.cfg" not in everything(host)

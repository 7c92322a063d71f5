"""systemd-boot: entries by kernel-install, and by hand."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement.bootloader.systemd_boot import (
    SystemdBoot,
)
from gpu_passthrough_plugin.model.change import Action
from tests.trees import arch, boot, debian, redhat
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON

KERNEL = "6.14.5-300.fc42.x86_64"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("root=x ro", "root=x ro intel_iommu=on"),
        ("root=x ro\r\n", "root=x ro intel_iommu=on\r\n"),
        ("root=x intel_iommu=off ro\n", "root=x intel_iommu=on ro\n"),
        ("# ours\nroot=x\n", "# ours\nroot=x intel_iommu=on\n"),
        ("root=x\nquiet iommu=off\n", "root=x intel_iommu=on\nquiet\n"),
    ],
)
def test_the_source_of_entries_is_edited(text: str, expected: str) -> None:
    made = debian.debian_systemd_boot()
    made.file("etc/kernel/cmdline", text)
    plan = planning.plan(planning.installed(made), ON)
    assert planning.writes(plan) == {"/etc/kernel/cmdline": expected}


def test_a_kernel_is_added_again_where_its_entry_lacks_it() -> None:
    made = redhat.fedora_systemd_boot()
    made.file("etc/kernel/cmdline", "root=x intel_iommu=on\n")
    (run,) = planning.runs(planning.plan(planning.installed(made), ON))
    assert run.action is Action.RUN
    folder = f"/boot/efi/{boot.MACHINE}/{KERNEL}"
    assert run.touches == (
        f"/boot/efi/loader/entries/{boot.MACHINE}-{KERNEL}.conf",
        f"{folder}/linux",
        f"{folder}/initrd.img",
    )


def test_without_a_source_of_entries_it_is_refused() -> None:
    made = arch.arch()
    boot.kernel_install(made, "boot/loader/entries", "6.14.6-arch1-1", "ro")
    with pytest.raises(errors.Refused, match=r"^/etc/kernel/cmdline "):
        planning.plan(planning.installed(made), ON)


def test_only_handwritten_entries_are_edited() -> None:
    made = arch.arch()
    boot.kernel_install(made, "boot/loader/entries", "5.0.0-other", "ro")
    made.file("boot/loader/entries/windows.conf", "title W\nefi /EFI/W.efi\n")
    made.file(
        "boot/loader/entries/arch.conf",
        "linux /vmlinuz-linux\noptions root=x\noptions  iommu=off a\r\n",
    )
    made.file("boot/loader/entries/arch-fallback.conf", "linux /vmlinuz-linux")
    assert planning.writes(planning.plan(planning.installed(made), ON)) == {
        "/boot/loader/entries/arch-fallback.conf": (
            "linux /vmlinuz-linux\noptions intel_iommu=on\n"
        ),
        "/boot/loader/entries/arch.conf": (
            "linux /vmlinuz-linux\noptions root=x\n"
            "options  a intel_iommu=on\r\n"
        ),
    }


POP = (
    "title Pop!_OS\nlinux /EFI/Pop_OS-00000001/vmlinuz.efi\n"
    "initrd /EFI/Pop_OS-00000001/initrd.img\noptions root=x quiet\n"
)


def test_entries_that_load_a_copy_of_the_image_are_refused() -> None:
    """pop#872: the image on the EFI system partition is never rebuilt."""
    made = debian.debian12()
    made.file("boot/efi/loader/loader.conf", "timeout 3\n")
    made.file("boot/efi/loader/entries/Pop_OS-current.conf", POP)
    with pytest.raises(
        errors.Refused, match=r"Pop_OS-current\.conf loads"
    ) as caught:
        SystemdBoot().plan(planning.installed(made), ON)
    assert "/boot/efi/EFI/Pop_OS-00000001/initrd.img" in str(caught.value)
    assert "/boot/initrd.img-6.1.0-18-amd64" in str(caught.value)
    # Another system's entry, beside one that loads what is built here.
    image = (
        "options root=x\nlinux /vmlinuz\ninitrd /initrd.img-6.1.0-18-amd64\n"
    )
    made.file("boot/loader/entries/debian.conf", image)
    assert SystemdBoot().plan(planning.installed(made), ON).changes

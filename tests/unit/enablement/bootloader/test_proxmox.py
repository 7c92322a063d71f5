"""Proxmox: EFI system partitions of its own."""

from __future__ import annotations

from tests.trees import debian
from tests.unit.enablement.bootloader import planning
from tests.unit.enablement.bootloader.planning import ON


def test_only_the_first_line_of_the_source_is_edited() -> None:
    made = debian.proxmox_systemd_boot()
    made.file("etc/kernel/cmdline", "root=ZFS=x\nintel_iommu=on\n")
    changed = planning.writes(planning.plan(planning.installed(made), ON))
    assert changed["/etc/kernel/cmdline"] == (
        "root=ZFS=x intel_iommu=on\nintel_iommu=on\n"
    )


def test_grub_on_partitions_of_a_bios_host() -> None:
    made = debian.proxmox_grub()
    made.file("etc/kernel/proxmox-boot-uuids", "3F1A-9C20\n")
    plan = planning.plan(planning.installed(made), ON)
    assert list(planning.writes(plan)) == [
        "/etc/default/grub.d/90-gpu-passthrough.cfg"
    ]
    assert planning.argv(plan) == [("/usr/sbin/proxmox-boot-tool", "refresh")]

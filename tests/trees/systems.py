"""One server with one card under many distributions, as they are installed.

None of them was told of an IOMMU yet.  The Intel ones have a DMAR table and
no groups; the AMD ones (Arch, Proxmox, Tumbleweed) have groups already.
The card is ``boot.CARD``.

Source of the files' forms: each distribution's own packages of grub2,
grubby, systemd, sdbootutil, proxmox-kernel-helper and rpm-ostree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.trees import arch, debian, redhat, suse
from tests.trees.host import Host

SYSTEMS: Mapping[str, Callable[[], Host]] = {
    "arch": arch.arch,
    "arch-grub": arch.arch_grub,
    "centos7": redhat.centos7,
    "centos7-efi": redhat.centos7_efi,
    "debian-systemd-boot": debian.debian_systemd_boot,
    "debian12": debian.debian12,
    "fedora": redhat.fedora,
    "fedora-systemd-boot": redhat.fedora_systemd_boot,
    "opensuse-leap": suse.opensuse_leap,
    "proxmox-grub": debian.proxmox_grub,
    "proxmox-systemd-boot": debian.proxmox_systemd_boot,
    "rhel10": redhat.rhel10,
    "rhel8": redhat.rhel8,
    "rhel8-whole": redhat.rhel8_whole,
    "rhel9": redhat.rhel9,
    "silverblue": redhat.silverblue,
    "tumbleweed": suse.tumbleweed,
    "ubuntu2404": debian.ubuntu2404,
}
"""Every system by its name."""

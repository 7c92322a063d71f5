"""The card's server under Debian, Ubuntu and Proxmox."""

from __future__ import annotations

from tests.trees import boot
from tests.trees.host import Host

_DEBIAN_TOOLS = (
    "usr/bin/lsinitramfs", "usr/sbin/grub-mkconfig", "usr/sbin/mkinitramfs",
    "usr/sbin/update-grub", "usr/sbin/update-initramfs",
)  # fmt: skip


def _debian(release: str, old: str, words: str, *, amd: bool = False) -> Host:
    """Debian's kernels and initramfs-tools; ``words`` as it booted."""
    root = f"BOOT_IMAGE=/boot/vmlinuz-{release} root=UUID=00000001 ro"
    host = boot.host(release, f"{root}{words}", amd=amd)
    for name in (old, release):
        boot.kernel(host, name, f"initrd.img-{name}")
    boot.tools(host, *_DEBIAN_TOOLS)
    host.file(
        "etc/initramfs-tools/initramfs.conf", "MODULES=most\nBUSYBOX=auto\n"
    )
    host.file(
        "etc/initramfs-tools/modules",
        "# List of modules that you want to include in your initramfs.\n",
    )
    host.file("etc/modules", "# /etc/modules\n\n")
    return host


def _debian_menu(title: str, releases: tuple[str, ...], words: str) -> str:
    """Each kernel twice: as usual, and for recovery."""
    root = "root=UUID=00000001 ro"
    kernels = []
    for name in releases:
        kernels.append((f"/boot/vmlinuz-{name}", f"{root}{words}"))
        kernels.append((f"/boot/vmlinuz-{name}", f"{root} single "))
    return boot.menu(title, kernels)


_DEBIAN12 = ("6.1.0-28-amd64", "6.1.0-18-amd64")


def debian12() -> Host:
    """Debian 12 with GRUB, two kernels."""
    host = _debian(*_DEBIAN12, words="  quiet")
    boot.os_release(host, id="debian", version_id="12")
    host.file(
        "etc/default/grub",
        "# If you change this file, run 'update-grub' afterwards to update\n"
        "# /boot/grub/grub.cfg.\n"
        "\n"
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=5\n"
        "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX=""\n'
        "\n"
        "# Uncomment to disable graphical terminal\n"
        "#GRUB_TERMINAL=console\n",
    )
    host.file(
        "boot/grub/grub.cfg",
        _debian_menu("Debian GNU/Linux", _DEBIAN12, "  quiet"),
    )
    return host


_UBUNTU = ("6.8.0-52-generic", "6.8.0-31-generic")


def ubuntu2404() -> Host:
    """Ubuntu 24.04 server, with a drop-in of curtin's and one of kdump's."""
    words = "  crashkernel=2G-4G:320M,4G-:512M"
    host = _debian(*_UBUNTU, words=words)
    boot.os_release(host, id="ubuntu", id_like="debian", version_id="24.04")
    boot.efi(host)
    host.file("boot/efi/EFI/ubuntu/grub.cfg", boot.STUB)
    host.file(
        "etc/default/grub",
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT_STYLE=hidden\n"
        "GRUB_TIMEOUT=0\n"
        "GRUB_DISTRIBUTOR=`( . /etc/os-release; echo ${NAME:-Ubuntu} )"
        " 2>/dev/null || echo Ubuntu`\n"
        'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        'GRUB_CMDLINE_LINUX=""\n',
    )
    host.file(
        "etc/default/grub.d/init-select.cfg", "# Work around a bug\ntrue\n"
    )
    host.file(
        "etc/default/grub.d/kdump-tools.cfg",
        'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT'
        ' crashkernel=2G-4G:320M,4G-:512M"\n',
    )
    host.file("boot/grub/grub.cfg", _debian_menu("Ubuntu", _UBUNTU, words))
    return host


def debian_systemd_boot() -> Host:
    """Debian 12 with systemd-boot through kernel-install."""
    words = "root=UUID=00000001 ro quiet"
    host = _debian(*_DEBIAN12, words="")
    boot.os_release(host, id="debian", version_id="12")
    boot.efi(host)
    boot.tools(host, "usr/bin/bootctl", "usr/bin/kernel-install")
    host.file("proc/cmdline", f"{words} systemd.machine_id={boot.MACHINE}\n")
    host.file("etc/kernel/cmdline", f"{words}\n")
    host.file("boot/efi/loader/loader.conf", "timeout 3\n")
    for name in _DEBIAN12:
        boot.kernel_install(host, "boot/efi/loader/entries", name, words)
    return host


_PROXMOX = ("6.8.12-4-pve", "6.8.4-2-pve")


def _proxmox() -> Host:
    host = _debian(*_PROXMOX, words=" quiet", amd=True)
    boot.os_release(host, id="debian", version_id="12")
    boot.tools(host, "usr/sbin/proxmox-boot-tool")
    host.file(
        "etc/default/grub",
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=5\n"
        "GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX=""\n',
    )
    host.file(
        "etc/default/grub.d/proxmox-ve.cfg",
        'GRUB_DISTRIBUTOR="Proxmox VE"\nGRUB_DISABLE_OS_PROBER=true\n',
    )
    return host


def proxmox_grub() -> Host:
    """Proxmox VE 8 on LVM: GRUB as Debian has it; AMD."""
    host = _proxmox()
    menu = _debian_menu("Proxmox VE GNU/Linux", _PROXMOX, " quiet")
    host.file("boot/grub/grub.cfg", menu)
    return host


def proxmox_systemd_boot() -> Host:
    """Proxmox VE 8 on ZFS: ESPs that are mounted only for a refresh; AMD."""
    words = "root=ZFS=rpool/ROOT/pve-1 boot=zfs"
    host = _proxmox()
    boot.efi(host)
    boot.tools(host, "usr/bin/bootctl", "usr/bin/kernel-install")
    host.file("proc/cmdline", f"initrd=\\EFI\\proxmox\\initrd.img {words}\n")
    host.file("etc/kernel/cmdline", f"{words}\n")
    host.file("etc/kernel/proxmox-boot-uuids", "3F1A-9C20\n3F1B-02DE\n")
    return host

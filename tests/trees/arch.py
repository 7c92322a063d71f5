"""The card's server under Arch."""

from __future__ import annotations

from tests.trees import boot
from tests.trees.host import Host


def _arch(words: str) -> Host:
    release = "6.14.6-arch1-1"
    host = boot.host(release, words, amd=True)
    boot.os_release(host, id="arch")
    boot.kernel(host, release, "initramfs-linux.img", package="linux")
    host.file("boot/initramfs-linux-fallback.img", "an image\n")
    boot.tools(
        host, "usr/bin/bootctl", "usr/bin/kernel-install",
        "usr/bin/lsinitcpio", "usr/bin/mkinitcpio",
    )  # fmt: skip
    host.file(
        "etc/mkinitcpio.conf",
        "MODULES=()\n"
        "BINARIES=()\n"
        "FILES=()\n"
        "HOOKS=(base systemd autodetect microcode modconf kms keyboard"
        " block filesystems fsck)\n",
    )
    host.file(
        "etc/mkinitcpio.d/linux.preset",
        'ALL_kver="/boot/vmlinuz-linux"\n'
        "PRESETS=('default' 'fallback')\n"
        'default_image="/boot/initramfs-linux.img"\n'
        'fallback_image="/boot/initramfs-linux-fallback.img"\n'
        'fallback_options="-S autodetect"\n',
    )
    return host


def arch() -> Host:
    """Arch with systemd-boot, whose entries are written by hand; AMD."""
    words = "root=PARTUUID=6a0f1c2d rw quiet"
    host = _arch(f"initrd=\\initramfs-linux.img {words}")
    boot.efi(host)
    host.file("boot/loader/loader.conf", "default arch.conf\ntimeout 3\n")
    for name, image in (
        ("arch", "initramfs-linux"),
        ("arch-fallback", "initramfs-linux-fallback"),
    ):
        host.file(
            f"boot/loader/entries/{name}.conf",
            "title   Arch Linux\n"
            "linux   /vmlinuz-linux\n"
            f"initrd  /{image}.img\n"
            f"options {words}\n",
        )
    return host


def arch_grub() -> Host:
    """Arch with GRUB, which has no update-grub; AMD."""
    words = "root=UUID=2f7b9d11 rw  loglevel=3 quiet"
    host = _arch(f"BOOT_IMAGE=/boot/vmlinuz-linux {words}")
    boot.tools(host, "usr/bin/grub-mkconfig")
    host.file(
        "etc/default/grub",
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=5\n"
        'GRUB_DISTRIBUTOR="Arch"\n'
        'GRUB_CMDLINE_LINUX_DEFAULT="loglevel=3 quiet"\n'
        'GRUB_CMDLINE_LINUX=""\n',
    )
    host.file(
        "boot/grub/grub.cfg",
        boot.menu("Arch Linux", [("/boot/vmlinuz-linux", words)]),
    )
    return host

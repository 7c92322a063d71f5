"""The card's server under openSUSE."""

from __future__ import annotations

from tests.trees import boot
from tests.trees.host import Host


def opensuse_leap() -> Host:
    """openSUSE Leap 15.6: GRUB and dracut."""
    release = "6.4.0-150600.23.33-default"
    words = "splash=silent mitigations=auto quiet security=apparmor"
    root = f"root=UUID=71d3c4aa {words}"
    host = boot.host(release, f"BOOT_IMAGE=/boot/vmlinuz-{release} {root}")
    boot.os_release(
        host, id="opensuse-leap", id_like="suse opensuse", version_id="15.6"
    )
    boot.efi(host)
    boot.kernel(host, release, f"initrd-{release}")
    boot.tools(
        host, "usr/bin/dracut", "usr/bin/lsinitrd", "usr/sbin/grub2-mkconfig",
        "usr/bin/kernel-install",
    )  # fmt: skip
    host.file(
        "etc/default/grub",
        "# If you change this file, run 'grub2-mkconfig -o"
        " /boot/grub2/grub.cfg' afterwards\n"
        'GRUB_DISTRIBUTOR=""\n'
        "GRUB_DEFAULT=saved\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT="{words}"\n'
        'GRUB_CMDLINE_LINUX=""\n',
    )
    host.file("etc/sysconfig/bootloader", 'LOADER_TYPE="grub2-efi"\n')
    host.file("boot/grub2/grubenv", boot.grubenv(saved_entry="0"))
    host.file("boot/efi/EFI/opensuse/grub.cfg", boot.STUB)
    host.file(
        "boot/grub2/grub.cfg",
        boot.menu(
            "openSUSE Leap 15.6", [(f"/boot/vmlinuz-{release}", root + "  ")]
        ),
    )
    return host


def tumbleweed() -> Host:
    """openSUSE Tumbleweed with sdbootutil, and a snapshot's entry; AMD."""
    release, old = "6.14.4-1-default", "6.14.1-1-default"
    words = "root=UUID=5e0c1d7f quiet security=selinux"
    flags = "rootflags=subvol=@/.snapshots/{}/snapshot"
    host = boot.host(release, f"{words} {flags.format(2)}", amd=True)
    boot.os_release(
        host, id="opensuse-tumbleweed", id_like="opensuse suse",
        version_id="20250505",
    )  # fmt: skip
    boot.efi(host)
    boot.tools(
        host, "usr/bin/dracut", "usr/bin/lsinitrd", "usr/bin/sdbootutil",
        "usr/bin/bootctl", "usr/bin/kernel-install",
    )  # fmt: skip
    host.file("etc/kernel/cmdline", f"{words}\n")
    host.file("boot/efi/loader/loader.conf", "timeout 8\n")
    for name, snapshot in ((release, 2), (old, 2), (old, 1)):
        boot.kernel(host, name, is_in_boot=False)
        host.file(
            f"boot/efi/loader/entries/opensuse-{name}-{snapshot}.conf",
            "# Boot Loader Specification type#1 entry\n"
            "title      openSUSE Tumbleweed\n"
            f"version    {snapshot}@{name}\n"
            "sort-key   opensuse-tumbleweed\n"
            f"options    {words} {flags.format(snapshot)}\n"
            f"linux      /opensuse-tumbleweed/{name}/linux-5fc1\n"
            f"initrd     /opensuse-tumbleweed/{name}/initrd-77ab\n",
        )
    return host

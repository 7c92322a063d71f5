"""The card's server under CentOS, RHEL and Fedora."""

from __future__ import annotations

from tests.trees import boot
from tests.trees.host import Host

_EL_TOOLS = (
    "usr/bin/dracut", "usr/bin/lsinitrd", "usr/sbin/grub2-mkconfig",
    "usr/sbin/grubby", "usr/bin/kernel-install", "usr/sbin/restorecon",
)  # fmt: skip
_EL7 = "3.10.0-1160.el7.x86_64"
_EL7_OLD = "3.10.0-514.el7.x86_64"
_EL7_WORDS = (
    "crashkernel=auto rd.lvm.lv=centos/root rd.lvm.lv=centos/swap rhgb quiet"
)
_EL_GRUB = (
    "GRUB_TIMEOUT=5\n"
    "GRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/system-release)\"\n"
    "GRUB_DEFAULT=saved\n"
    "GRUB_DISABLE_SUBMENU=true\n"
    'GRUB_TERMINAL_OUTPUT="console"\n'
    'GRUB_CMDLINE_LINUX="{}"\n'
    'GRUB_DISABLE_RECOVERY="true"\n'
)


def _centos7(command: str) -> tuple[Host, str]:
    root = f"root=/dev/mapper/centos-root ro {_EL7_WORDS}"
    host = boot.host(_EL7, f"BOOT_IMAGE=/vmlinuz-{_EL7} {root}")
    boot.os_release(host, id="centos", id_like="rhel fedora", version_id="7")
    for release in (_EL7_OLD, _EL7):
        boot.kernel(host, release, f"initramfs-{release}.img")
        host.file(f"boot/initramfs-{release}kdump.img", "an image\n")
    host.file(f"boot/vmlinuz-{boot.RESCUE}", "a kernel\n")
    host.file(f"boot/initramfs-{boot.RESCUE}.img", "an image\n")
    boot.tools(host, *_EL_TOOLS)
    host.file("etc/default/grub", _EL_GRUB.format(_EL7_WORDS))
    host.link("etc/sysconfig/grub", "/etc/default/grub")
    kernels = [
        (f"/vmlinuz-{name}", root) for name in (_EL7, _EL7_OLD, boot.RESCUE)
    ]
    other = command.replace("linux", "initrd")
    return host, boot.menu("CentOS Linux", kernels, command, other)


def centos7() -> Host:
    """CentOS 7 on a BIOS: two kernels and a rescue image."""
    host, menu = _centos7("linux16")
    host.file("boot/grub2/grub.cfg", menu)
    host.file("boot/grub2/grubenv", boot.grubenv(saved_entry="CentOS Linux"))
    return host


def centos7_efi() -> Host:
    """CentOS 7 on UEFI: its grub.cfg is on the EFI system partition."""
    host, menu = _centos7("linuxefi")
    boot.efi(host)
    host.file("boot/efi/EFI/centos/grub.cfg", menu)
    host.file("boot/efi/EFI/BOOT/BOOTX64.EFI", "a program\n")
    host.file("boot/efi/EFI/centos/grubenv", boot.grubenv(saved_entry="0"))
    host.link("boot/grub2/grubenv", "../efi/EFI/centos/grubenv")
    return host


def _el(
    vendor: str, version: str, release: str, rows: tuple[str, str, str]
) -> Host:
    """Red Hat's with loader entries, one kernel and its rescue.

    :param rows: arguments without ``root=``, ``options`` of the entries,
        and what stands after the image's name.
    """
    words, options, more = rows
    root = f"root=/dev/mapper/{vendor}-root ro {words}"
    host = boot.host(
        release, f"BOOT_IMAGE=(hd0,gpt2)/vmlinuz-{release} {root}"
    )
    like = {} if vendor == "fedora" else {"id_like": "fedora"}
    boot.os_release(host, id=vendor, version_id=version, **like)
    boot.kernel(host, release, f"initramfs-{release}.img")
    rescue = f"0-rescue-{boot.MACHINE}"
    host.file(f"boot/vmlinuz-{rescue}", "a kernel\n")
    host.file(f"boot/initramfs-{rescue}.img", "an image\n")
    boot.tools(host, *_EL_TOOLS)
    boot.efi(host)
    host.file("boot/efi/EFI/BOOT/BOOTX64.EFI", "a program\n")
    host.file(
        "etc/default/grub",
        _EL_GRUB.format(words) + "GRUB_ENABLE_BLSCFG=true\n",
    )
    host.link("etc/sysconfig/grub", "../default/grub")
    folder = "boot/loader/entries"
    for name, kernel in ((release, release), ("0-rescue", rescue)):
        entry = boot.bls(vendor, kernel, options.format(root), more=more)
        host.file(f"{folder}/{boot.MACHINE}-{name}.conf", entry)
    return host


_EL8 = "4.18.0-553.el8_10.x86_64"
_EL8_WORDS = (
    "crashkernel=auto resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root"
    " rd.lvm.lv=rhel/swap rhgb quiet"
)
_EL8_ROWS = (_EL8_WORDS, "$kernelopts $tuned_params", " $tuned_initrd")


def _el8_grubenv() -> str:
    return boot.grubenv(
        saved_entry=f"{boot.MACHINE}-{_EL8}",
        kernelopts=f"root=/dev/mapper/rhel-root ro {_EL8_WORDS} ",
        boot_success="0",
    )


def rhel8() -> Host:
    """RHEL 8: arguments in grubenv; a stub on the EFI system partition."""
    host = _el("rhel", "8.10", _EL8, _EL8_ROWS)
    host.file("boot/grub2/grubenv", _el8_grubenv())
    host.file("boot/efi/EFI/redhat/grub.cfg", boot.STUB)
    host.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    return host


def rhel8_whole() -> Host:
    """The same with grub.cfg and grubenv on the EFI system partition."""
    host = _el("rhel", "8.10", _EL8, _EL8_ROWS)
    host.file("boot/efi/EFI/redhat/grub.cfg", boot.BLS_MENU)
    host.file("boot/efi/EFI/redhat/grubenv", _el8_grubenv())
    host.link("boot/grub2/grubenv", "../efi/EFI/redhat/grubenv")
    return host


def rhel9() -> Host:
    """RHEL 9: arguments in the entries and in /etc/kernel/cmdline."""
    words = (
        "crashkernel=1G-2G:192M,2G-64G:256M,64G-:512M"
        " resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root"
        " rd.lvm.lv=rhel/swap rhgb quiet"
    )
    release = "5.14.0-503.11.1.el9_5.x86_64"
    rows = (words, "{} $tuned_params", " $tuned_initrd")
    host = _el("rhel", "9.5", release, rows)
    host.file("etc/kernel/cmdline", f"root=/dev/mapper/rhel-root ro {words}\n")
    host.file("boot/grub2/grubenv", boot.grubenv(saved_entry=boot.MACHINE))
    host.file("boot/efi/EFI/redhat/grub.cfg", boot.STUB)
    host.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    return host


def rhel10() -> Host:
    """RHEL 10."""
    words = (
        "crashkernel=2G-64G:256M,64G-:512M resume=UUID=9c1d7a50-1f0e"
        " rd.lvm.lv=rhel/root rd.lvm.lv=rhel/swap rhgb quiet"
    )
    release = "6.12.0-55.9.1.el10_0.x86_64"
    host = _el("rhel", "10.0", release, (words, "{}", ""))
    host.file("etc/kernel/cmdline", f"root=/dev/mapper/rhel-root ro {words}\n")
    host.file("boot/grub2/grubenv", boot.grubenv(saved_entry=boot.MACHINE))
    host.file("boot/efi/EFI/redhat/grub.cfg", boot.STUB)
    host.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    return host


def fedora() -> Host:
    """Fedora with GRUB, without /etc/kernel/cmdline."""
    release = "6.14.5-300.fc42.x86_64"
    rows = ("rootflags=subvol=root rhgb quiet", "{}", "")
    host = _el("fedora", "42", release, rows)
    host.file("boot/grub2/grubenv", boot.grubenv(saved_entry=boot.MACHINE))
    host.file("boot/efi/EFI/fedora/grub.cfg", boot.STUB)
    host.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    return host


def fedora_systemd_boot() -> Host:
    """Fedora with systemd-boot: kernels are on the EFI system partition."""
    release = "6.14.5-300.fc42.x86_64"
    words = "root=UUID=8d2e4f60 ro rootflags=subvol=root rhgb quiet"
    host = boot.host(release, f"{words} systemd.machine_id={boot.MACHINE}")
    boot.os_release(host, id="fedora", version_id="42")
    boot.efi(host)
    boot.kernel(host, release, is_in_boot=False)
    boot.tools(
        host, "usr/bin/bootctl", "usr/bin/dracut", "usr/bin/kernel-install",
        "usr/bin/lsinitrd", "usr/sbin/grubby", "usr/sbin/restorecon",
    )  # fmt: skip
    host.file("etc/kernel/cmdline", f"{words}\n")
    host.file("etc/kernel/install.conf", "layout=bls\n")
    host.file("boot/efi/loader/loader.conf", "timeout 3\n")
    boot.kernel_install(host, "boot/efi/loader/entries", release, words)
    return host


def silverblue() -> Host:
    """Fedora Silverblue: rpm-ostree, whose entries nobody edits."""
    release = "6.14.5-300.fc42.x86_64"
    words = (
        "rhgb quiet root=UUID=8d2e4f60 rootflags=subvol=root rw"
        " ostree=/ostree/boot.1/fedora/1f0a/0"
    )
    host = boot.host(release, f"BOOT_IMAGE=(hd0,gpt2)/ostree/x {words}")
    boot.os_release(
        host, id="fedora", version_id="42", variant_id="silverblue"
    )
    boot.efi(host)
    boot.kernel(host, release, is_in_boot=False)
    boot.tools(host, "usr/bin/rpm-ostree", *_EL_TOOLS)
    host.file("run/ostree-booted", "")
    host.file("etc/default/grub", _EL_GRUB.format("rhgb quiet"))
    host.file("boot/grub2/grub.cfg", boot.BLS_MENU)
    host.file("boot/efi/EFI/fedora/grub.cfg", boot.STUB)
    host.file(
        "boot/loader/entries/ostree-1.conf",
        "title Fedora Linux 42 (Silverblue) (ostree:0)\n"
        "version 1\n"
        f"options {words}\n"
        f"linux /ostree/fedora-1f0a/vmlinuz-{release}\n"
        f"initrd /ostree/fedora-1f0a/initramfs-{release}.img\n",
    )
    return host

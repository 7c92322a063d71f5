"""What discovery reads of how the described systems boot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from gpu_passthrough_plugin.discovery import functions
from gpu_passthrough_plugin.discovery import installation as discovery
from gpu_passthrough_plugin.model.installation import Installation, Reads
from tests.trees import boot
from tests.trees.host import Host
from tests.trees.installed import installation
from tests.trees.systems import SYSTEMS


class Boots(NamedTuple):
    """What a test wants of one system.

    :param images: without /boot/; empty for an image in no known place.
    :param has: files that have to be read, and tools to be found.
    """

    is_efi: bool
    images: dict[str, str]
    has: tuple[str, ...]


_EL7, _EL7_OLD = "3.10.0-1160.el7.x86_64", "3.10.0-514.el7.x86_64"
_EL8, _EL9 = "4.18.0-553.el8_10.x86_64", "5.14.0-503.11.1.el9_5.x86_64"
_EL10, _FC = "6.12.0-55.9.1.el10_0.x86_64", "6.14.5-300.fc42.x86_64"
_ARCH, _LEAP = "6.14.6-arch1-1", "6.4.0-150600.23.33-default"
_BLS = f"/boot/loader/entries/{boot.MACHINE}"
_ESP = f"/boot/efi/loader/entries/{boot.MACHINE}"


def _dracut(*releases: str) -> dict[str, str]:
    return {name: f"initramfs-{name}.img" for name in releases}


def _debian(*releases: str) -> dict[str, str]:
    return {name: f"initrd.img-{name}" for name in releases}


WANTED = {
    "arch": Boots(
        True,
        {_ARCH: "initramfs-linux.img"},
        ("/boot/loader/entries/arch.conf", "/usr/bin/mkinitcpio"),
    ),
    "arch-grub": Boots(
        False,
        {_ARCH: "initramfs-linux.img"},
        ("/boot/grub/grub.cfg", "/usr/bin/grub-mkconfig"),
    ),
    "centos7": Boots(
        False,
        _dracut(_EL7, _EL7_OLD),
        ("/etc/sysconfig/grub", "/boot/grub2/grub.cfg"),
    ),
    "centos7-efi": Boots(
        True,
        _dracut(_EL7, _EL7_OLD),
        ("/boot/efi/EFI/centos/grub.cfg", "/boot/grub2/grubenv"),
    ),
    "debian-systemd-boot": Boots(
        True,
        _debian("6.1.0-18-amd64", "6.1.0-28-amd64"),
        (f"{_ESP}-6.1.0-28-amd64.conf", "/usr/bin/kernel-install"),
    ),
    "debian12": Boots(
        False,
        _debian("6.1.0-18-amd64", "6.1.0-28-amd64"),
        ("/boot/grub/grub.cfg", "/usr/sbin/update-grub"),
    ),
    "fedora": Boots(
        True, _dracut(_FC), (f"{_BLS}-{_FC}.conf", "/usr/sbin/grubby")
    ),
    "fedora-systemd-boot": Boots(
        True, {_FC: ""}, (f"{_ESP}-{_FC}.conf", "/etc/kernel/cmdline")
    ),
    "opensuse-leap": Boots(
        True,
        {_LEAP: f"initrd-{_LEAP}"},
        ("/etc/sysconfig/bootloader", "/usr/sbin/grub2-mkconfig"),
    ),
    "proxmox-grub": Boots(
        False,
        _debian("6.8.12-4-pve", "6.8.4-2-pve"),
        ("/etc/default/grub.d/proxmox-ve.cfg",),
    ),
    "proxmox-systemd-boot": Boots(
        True,
        _debian("6.8.12-4-pve", "6.8.4-2-pve"),
        ("/etc/kernel/proxmox-boot-uuids", "/usr/sbin/proxmox-boot-tool"),
    ),
    "rhel10": Boots(
        True, _dracut(_EL10), (f"{_BLS}-0-rescue.conf", "/etc/kernel/cmdline")
    ),
    "rhel8": Boots(
        True,
        _dracut(_EL8),
        ("/boot/grub2/grubenv", "/boot/efi/EFI/redhat/grub.cfg"),
    ),
    "rhel8-whole": Boots(
        True, _dracut(_EL8), ("/boot/efi/EFI/redhat/grub.cfg",)
    ),
    "rhel9": Boots(True, _dracut(_EL9), (f"{_BLS}-{_EL9}.conf",)),
    "silverblue": Boots(
        True, {_FC: ""}, ("/run/ostree-booted", "/usr/bin/rpm-ostree")
    ),
    "tumbleweed": Boots(
        True,
        {"6.14.1-1-default": "", "6.14.4-1-default": ""},
        ("/etc/kernel/cmdline", "/usr/bin/sdbootutil"),
    ),
    "ubuntu2404": Boots(
        True,
        _debian("6.8.0-31-generic", "6.8.0-52-generic"),
        ("/etc/default/grub.d/kdump-tools.cfg",),
    ),
}


@pytest.mark.parametrize(
    ("system", "wanted"), [(SYSTEMS[name], WANTED[name]) for name in SYSTEMS]
)
def test_how_a_system_boots(system: Callable[[], Host], wanted: Boots) -> None:
    tree = system().tree()
    found = installation(tree)
    assert found.is_efi == wanted.is_efi
    assert {k.release: _image(k.image) for k in found.kernels} == wanted.images
    there = {*found.files, *found.tools.values()}
    assert set(wanted.has) <= there
    card = [str(f.address) for f in functions.functions(tree)]
    assert set(boot.CARD) <= set(card)


def _image(path: str | None) -> str:
    return "" if path is None else path.removeprefix("/boot/")


def _found(name: str) -> Installation:
    return installation(SYSTEMS[name]().tree())


def test_links_lead_to_the_files_behind_them() -> None:
    for name in ("centos7", "rhel9"):
        found = _found(name)
        assert found.real("/etc/sysconfig/grub") == "/etc/default/grub"
        text = found.text("/etc/sysconfig/grub")
        assert text == found.text("/etc/default/grub")
    moved = _found("rhel8-whole")
    assert moved.real("/boot/grub2/grubenv") == "/boot/efi/EFI/redhat/grubenv"
    assert "/boot/grub2/grub.cfg" not in moved.files


def test_the_rescue_image_is_no_kernels() -> None:
    found = _found("centos7")
    rescue = f"initramfs-{boot.RESCUE}.img"
    assert rescue in found.names("/boot")
    assert f"/boot/{rescue}" not in [k.image for k in found.kernels]


def test_what_is_built_in() -> None:
    host = SYSTEMS["debian12"]()
    boot.kernel(host, "6.12.0-1-amd64", is_vfio_builtin=True)
    by_release = {
        k.release: k.builtin for k in installation(host.tree()).kernels
    }
    built = by_release["6.12.0-1-amd64"]
    apart = by_release["6.1.0-28-amd64"]
    assert isinstance(built, frozenset)
    assert isinstance(apart, frozenset)
    assert built - apart == {"vfio", "vfio_iommu_type1", "vfio_pci"}


def test_a_star_stands_for_every_name_in_a_folder() -> None:
    host = Host()
    for vendor in ("acme", "other"):
        host.file(f"boot/efi/EFI/{vendor}/menu.cfg", vendor)
    host.file("boot/efi/EFI/acme/more.cfg", "not asked for")
    found = discovery.installation(
        host.tree(), Reads(files=("/boot/efi/EFI/*/menu.cfg",))
    )
    assert found.files == {
        "/boot/efi/EFI/acme/menu.cfg": b"acme",
        "/boot/efi/EFI/other/menu.cfg": b"other",
    }
    assert found.names("/boot/efi/EFI") == ("acme", "other")


def test_nothing_is_read_that_nobody_declared() -> None:
    found = discovery.installation(SYSTEMS["debian12"]().tree(), Reads())
    assert found.files == {}
    assert found.tools == {}
    assert set(found.folders) == {"/boot"}
    assert [kernel.image for kernel in found.kernels] == [None, None]


def test_the_first_image_name_there_is_counts() -> None:
    host = Host()
    boot.kernel(host, "6.1", "initrd-6.1", package="linux")
    host.file("boot/initramfs-linux.img", "an image")
    for images, wanted in (
        (
            ("initramfs-{package}.img", "initrd-{release}"),
            "initramfs-linux.img",
        ),
        (("gone-{release}", "initrd-{release}"), "initrd-6.1"),
        (("gone-{release}",), None),
    ):
        found = discovery.installation(host.tree(), Reads(images=images))
        image = found.kernels[0].image
        assert image == (wanted and f"/boot/{wanted}")

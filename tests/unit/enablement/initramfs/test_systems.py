"""Every described system has the images that its own tools build."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.enablement.binding.ids import IdsBinding
from gpu_passthrough_plugin.enablement.driver import BindingCase
from gpu_passthrough_plugin.enablement.initramfs.dracut import Dracut
from gpu_passthrough_plugin.enablement.initramfs.initramfs_tools import (
    InitramfsTools,
)
from gpu_passthrough_plugin.enablement.initramfs.mkinitcpio import Mkinitcpio
from tests.trees.installed import installation
from tests.trees.systems import SYSTEMS
from tests.unit.enablement.values import CARD

DRIVERS = (Dracut(), InitramfsTools(), Mkinitcpio())
NAMES = {
    "arch": "mkinitcpio",
    "arch-grub": "mkinitcpio",
    "debian-systemd-boot": "initramfs_tools",
    "debian12": "initramfs_tools",
    "proxmox-grub": "initramfs_tools",
    "proxmox-systemd-boot": "initramfs_tools",
    "ubuntu2404": "initramfs_tools",
}
# Their images are on the EFI system partition, or of a deployment's own.
ELSEWHERE = {"fedora-systemd-boot", "silverblue", "tumbleweed"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_builds_its_images(name: str) -> None:
    system = installation(SYSTEMS[name]().tree())
    (driver,) = (d for d in DRIVERS if d.claims(system))
    assert driver.name == NAMES.get(name, "dracut")
    early = IdsBinding().plan(BindingCase(CARD, (), system)).content
    assert driver.files(system, early)
    builds = [driver.build(system, kernel, early) for kernel in system.kernels]
    assert builds
    assert all(b is None for b in builds) == (name in ELSEWHERE)
    for build in filter(None, builds):
        assert build.image.startswith("/boot/init")
        assert "rescue" not in build.image
        assert "fallback" not in build.image
        assert build.argv[0] == system.tools[build.argv[0].rpartition("/")[2]]

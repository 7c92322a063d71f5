"""``[enablement]``: how a host is made ready, and stays so over reboots."""

from __future__ import annotations

import dataclasses
import re

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import (
    Section,
    expected_driver,
    installed_drivers,
)

GROUP = "enablement"
_NAMESPACE = "gpu_passthrough_plugin."
AUTO = "auto"
# Source: Linux, include/linux/module.h (MODULE_NAME_LEN is 56).
_MODULE = re.compile(r"[A-Za-z0-9_-]{1,55}")


def _driver(kind: str, what: str, names: str, default: str) -> cfg.StrOpt:
    auto = (
        "" if default != AUTO else "\n* ``auto``: the one that the host shows;"
    )
    return cfg.StrOpt(
        kind,
        default=default,
        help=f"""
Driver that {what}.

Possible values:
{auto}
* {names};
* the name of any other entry point in ``{_NAMESPACE}{kind}``.
""",
    )


IOMMU = _driver(
    "iommu",
    "knows what the kernel has to be told for it to use the IOMMU",
    "``intel``, ``amd``, ``arm``",
    AUTO,
)
BOOTLOADER = _driver(
    "bootloader",
    "changes the kernel's arguments",
    "``debian``, ``grub2``, ``grubby``, ``proxmox``, ``rpm_ostree``,"
    " ``suse``,\n  ``systemd_boot``",
    AUTO,
)
INITRAMFS = _driver(
    "initramfs",
    "builds the images that kernels start from",
    "``dracut``, ``initramfs_tools``, ``mkinitcpio``",
    AUTO,
)
BINDING = _driver(
    "binding",
    "brings selected functions to vfio-pci when the host boots",
    "``address``: exactly the selected ones, by an early script;\n* ``ids``:"
    " every function with the same vendor and product, by vfio-pci's own\n"
    "  option; refused where that takes one that is not selected",
    "address",
)
IOMMU_PASSTHROUGH = cfg.BoolOpt(
    "iommu_passthrough",
    default=False,
    help="""
Whether the host's own devices are to bypass the IOMMU (``iommu=pt``): their
DMA is faster then, and no longer checked. Guests are isolated all the same.
""",
)
ALLOW_UNSAFE_INTERRUPTS = cfg.BoolOpt(
    "allow_unsafe_interrupts",
    default=False,
    help="""
Whether guests may hold functions on a host whose IOMMU cannot remap
interrupts. Such a guest can send any interrupt to the host: say true only
where every guest is trusted.
""",
)
BLACKLIST = cfg.ListOpt(
    "blacklist",
    default=[],
    help="""
Drivers of the host that are not to load by themselves, such as ``nouveau``.
Selected functions are on vfio-pci before any driver without this. One that
serves a display which stays with the host is refused.

Possible values:

* names of kernel modules, separated by commas.
""",
)
OPTS = (
    IOMMU,
    BOOTLOADER,
    INITRAMFS,
    BINDING,
    IOMMU_PASSTHROUGH,
    ALLOW_UNSAFE_INTERRUPTS,
    BLACKLIST,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Enablement:
    """What ``[enablement]`` says.

    :param iommu: an entry point's name; None to look for the right one,
        as for ``bootloader`` and ``initramfs``.
    """

    iommu: str | None
    bootloader: str | None
    initramfs: str | None
    binding: str
    iommu_passthrough: bool
    allow_unsafe_interrupts: bool
    blacklist: tuple[str, ...]


def parse(section: Section) -> Enablement:
    """The group's values; what is wrong in it is in ``section.faults``."""
    return Enablement(
        iommu=_named(section, IOMMU),
        bootloader=_named(section, BOOTLOADER),
        initramfs=_named(section, INITRAMFS),
        binding=_named(section, BINDING) or str(BINDING.default),
        iommu_passthrough=bool(section.value(IOMMU_PASSTHROUGH)),
        allow_unsafe_interrupts=bool(section.value(ALLOW_UNSAFE_INTERRUPTS)),
        blacklist=_modules(section),
    )


def _named(section: Section, option: cfg.Opt) -> str | None:
    """The driver's name; looked for only where it is not the default."""
    name = str(section.value(option))
    if name == option.default:
        return None if name == AUTO else name
    names = installed_drivers(f"{_NAMESPACE}{option.dest}")
    if name not in names:
        section.fault(option, expected_driver(names))
    return name


def _modules(section: Section) -> tuple[str, ...]:
    names = tuple(section.value(BLACKLIST))
    for name in names:
        if not _MODULE.fullmatch(name):
            section.fault(
                BLACKLIST,
                "wanted names of kernel modules, such as nouveau",
                name,
            )
    return names

"""``[enablement]``: how a host is prepared, so that reboots keep it so."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import (
    Section,
    expected_driver,
    installed_drivers,
)
from gpu_passthrough_plugin.formats import modprobe

GROUP = "enablement"
_NAMESPACE = "gpu_passthrough_plugin."
AUTO = "auto"


def _driver(kind: str, what: str, names: str, default: str) -> cfg.StrOpt:
    auto = (
        "" if default != AUTO else "\n* ``auto``: the one that the host uses;"
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
    "knows which arguments make the kernel use the IOMMU",
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
    "builds the initramfs images",
    "``dracut``, ``initramfs_tools``, ``mkinitcpio``",
    AUTO,
)
BINDING = _driver(
    "binding",
    "binds the selected functions to vfio-pci when the host boots",
    "``address``: exactly the selected functions, by a script in the"
    " initramfs;\n* ``ids``: every function with the same vendor and product,"
    " by vfio-pci's own\n  option; refused if one of these functions is not"
    " selected",
    "address",
)
IOMMU_PASSTHROUGH = cfg.BoolOpt(
    "iommu_passthrough",
    default=False,
    help="""
Whether the host's own devices bypass the IOMMU (``iommu=pt``): their DMA is
faster then, but is no longer checked. Guests are isolated in both cases.
""",
)
ALLOW_UNSAFE_INTERRUPTS = cfg.BoolOpt(
    "allow_unsafe_interrupts",
    default=False,
    help="""
Whether guests may be given functions on a host whose IOMMU cannot remap
interrupts. Such a guest can send any interrupt to the host: set it to true
only if every guest is trusted.
""",
)
BLACKLIST = cfg.ListOpt(
    "blacklist",
    default=[],
    help="""
Drivers that the host does not load automatically, such as ``nouveau``. The
selected functions are bound to vfio-pci before other drivers even without
it. Drivers of what the host uses (disks, network) are refused, and so are
drivers of a display that stays with the host.

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
    """The values of ``[enablement]``.

    :param iommu: an entry point's name; None to find the right driver, as
        for ``bootloader`` and ``initramfs``.
    """

    iommu: str | None
    bootloader: str | None
    initramfs: str | None
    binding: str
    iommu_passthrough: bool
    allow_unsafe_interrupts: bool
    blacklist: tuple[str, ...]


def parse(section: Section) -> Enablement:
    """Return the group's values; add its faults to ``section.faults``."""
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
    """Return a driver's name; check that it is installed if not default."""
    name = str(section.value(option))
    if name == option.default:
        return None if name == AUTO else name
    names = installed_drivers(f"{_NAMESPACE}{option.dest}")
    if name not in names:
        expected = expected_driver({*names, str(option.default)})
        section.fault(option, expected)
    return name


def _modules(section: Section) -> tuple[str, ...]:
    names = tuple(section.value(BLACKLIST))
    for name in names:
        expected = modprobe.blacklist_fault(name)
        if expected:
            section.fault(BLACKLIST, expected, name)
    return names

"""Facts about a host that decide what it can isolate."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import MISSING, Unknown


class CpuVendor(enum.StrEnum):
    """The vendor of the CPU, which decides the kind of IOMMU."""

    INTEL = "intel"
    AMD = "amd"
    ARM = "arm"
    OTHER = "other"


# The firmware's table of the IOMMU, by CPU vendor.
# Source: Intel VT-d specification 8.1; AMD I/O virtualization
# specification 5.2.1.
IOMMU_TABLES = {CpuVendor.INTEL: "DMAR", CpuVendor.AMD: "IVRS"}
FEATURES = {CpuVendor.INTEL: "VT-d", CpuVendor.AMD: "AMD-Vi (IOMMU)"}
"""What the firmware's setup calls the IOMMU, by CPU vendor."""
# ARM's and virtio's as well.  Source: Arm DEN0049; virtio 1.3, 5.13.
TABLES = frozenset({*IOMMU_TABLES.values(), "IORT", "VIOT"})


def firmware_remedy(*vendors: CpuVendor) -> str:
    """Return what to do where the firmware provides no IOMMU.

    :param vendors: those that the CPU may be of, among ``FEATURES``.
    """
    features = " or ".join(FEATURES[vendor] for vendor in vendors)
    return (
        f"enable {features} in the firmware setup, then power the host off"
        " and on"
    )


def start_remedy(vendor: CpuVendor | Unknown) -> str:
    """Return what to do where no IOMMU of Intel's or AMD's kind started."""
    names = _LOG_NAMES
    if not isinstance(vendor, Unknown) and vendor in names:
        names = {vendor: names[vendor]}
    return (
        f"search the kernel log for {' or '.join(names.values())}; update the"
        " firmware, and check that the kernel was built with the IOMMU's"
        " driver"
    )


# What the kernel's messages about the IOMMU begin with.
_LOG_NAMES = {CpuVendor.INTEL: "DMAR", CpuVendor.AMD: "AMD-Vi"}


class HostUse(NamedTuple):
    """What the host itself uses a function for.

    :param what: such as ``mount / (/dev/sda2)`` or
        ``default route (eno1)``.
    :param via: names of the devices that lead from the function up to
        that, such as ``sda``, ``sda2``, ``dm-0``.
    :param is_route: whether it is in use only for a route other than a
        default route.
    """

    address: Address
    what: str
    via: tuple[str, ...] = ()
    is_route: bool = False

    @property
    def description(self) -> str:
        """What it is used for, and over which devices."""
        over = f" over {', '.join(self.via)}" if self.via else ""
        return f"{self.what}{over}"


class HostFacts(NamedTuple):
    """Facts that decide whether a host can isolate its functions.

    :param acpi_tables: names of the firmware's tables, such as ``DMAR``.
    :param kernel_arguments: the running kernel's command line, as words.
    :param iommus: names in ``/sys/class/iommu``.
    :param uses: functions that mounted disks, swap and default routes
        need; ``Unknown`` when that could not be found out.
    :param consoles: active console devices, such as ``tty0``, ``ttyS0``.
    :param sockets: CPU socket of each NUMA node.
    :param hypervisor: the name of the one that the host is a guest of;
        None where nothing says that it is one.
    :param board: the device tree's name of the board; None without one.
    :param fabric_mode: ``FABRIC_MODE`` of NVIDIA Fabric Manager; None where
        it is not installed.
    :param address_bits: of a physical address, as the CPU has them.
    :param monitors: functions with an output that a monitor is connected to.
    """

    cpu_vendor: CpuVendor | Unknown
    kernel_release: str | Unknown
    kernel_arguments: tuple[str, ...] | Unknown
    acpi_tables: frozenset[str] | Unknown
    iommus: tuple[str, ...] | Unknown
    uses: tuple[HostUse, ...] | Unknown
    consoles: tuple[str, ...] | Unknown
    sockets: Mapping[int, int] | Unknown
    hypervisor: str | None = None
    board: str | None = None
    fabric_mode: int | Unknown | None = None
    address_bits: int | Unknown = MISSING
    monitors: frozenset[Address] = frozenset()

    @property
    def may_be_x86(self) -> bool:
        """Whether nothing says that the CPU is of another architecture."""
        vendor = self.cpu_vendor
        return isinstance(vendor, Unknown) or vendor in IOMMU_TABLES

    @property
    def is_dom0(self) -> bool:
        """Whether it is Xen's control domain: the IOMMU is Xen's."""
        return self.hypervisor is not None and "dom0" in self.hypervisor

    @property
    def can_have_iommu(self) -> bool:
        """Whether settings of its own may give it an IOMMU.

        Not so of a virtual machine without one, and of Xen's control domain.
        """
        if self.is_dom0:
            return False
        return self.hypervisor is None or self.has_iommu_table

    @property
    def has_iommu_table(self) -> bool:
        """Whether the firmware is known to describe an IOMMU of any kind."""
        tables = self.acpi_tables
        return not isinstance(tables, Unknown) and bool(tables & TABLES)

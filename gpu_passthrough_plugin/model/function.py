"""One PCI function as a host shows it, and which driver it is bound to."""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown

DISPLAY_BASE_CLASS = 0x03
BRIDGE_BASE_CLASS = 0x06

VFIO_PCI = "vfio-pci"
"""The driver that functions are bound to for a guest, as sysfs names it."""
PCI_STUB = "pci-stub"
"""A driver that only keeps other drivers from a function."""


class Header(enum.StrEnum):
    """The kind of a header, ``config[0x0e] & 0x7f``.

    Source: PCI Local Bus Specification 3.0, 6.2.1.  A function that does
    not respond reads as all ones.
    """

    ENDPOINT = "endpoint"
    BRIDGE = "bridge"
    DEAD = "dead"


class PhysicalFunction(NamedTuple):
    """An SR-IOV physical function.

    :param total_vfs: how many virtual functions it can have.
    :param enabled_vfs: how many it has.
    """

    total_vfs: int
    enabled_vfs: int


class VirtualFunction(NamedTuple):
    """An SR-IOV virtual function, and the physical one it belongs to."""

    physical: Address


class Function(NamedTuple):
    """What a listing shows of a function; it is cheap to read.

    A tuple, because a dataclass takes four times as long to make.

    :param class_code: 24 bits: base class, subclass, interface.
    :param driver: None when no driver is bound.
    :param iommu_group: None when the function is in no group; the number
        changes between boots.
    :param numa_node: None when the firmware names none (sysfs: -1).
    """

    address: Address
    vendor_id: int | Unknown
    product_id: int | Unknown
    subsystem_vendor_id: int | Unknown
    subsystem_product_id: int | Unknown
    class_code: int | Unknown
    driver: str | Unknown | None
    iommu_group: int | Unknown | None
    numa_node: int | Unknown | None
    modalias: str | Unknown
    is_bridge: bool

    @property
    def is_display(self) -> bool:
        """Whether its base class is 03: VGA, 3D or another display."""
        code = self.class_code
        return (
            not isinstance(code, Unknown) and code >> 16 == DISPLAY_BASE_CLASS
        )

    @property
    def is_accelerator(self) -> bool:
        """Whether its base class is 12: a processing accelerator.

        AMD's Instinct from MI300 on and Intel's Gaudi are.  Source: PCI
        Code and ID Assignment 1.11.
        """
        code = self.class_code
        return not isinstance(code, Unknown) and code >> 16 == _ACCELERATOR

    @property
    def may_carry_host(self) -> bool:
        """Whether a host may reach its disks or networks over it."""
        code = self.class_code
        return isinstance(code, Unknown) or code >> 16 in _CARRIES_HOST

    @property
    def is_nvswitch(self) -> bool:
        """Whether it is a switch between the GPUs of an HGX or DGX board.

        Source: NVIDIA, Fabric Manager User Guide; pci.ids (10de:1ac0,
        10de:1ac2, 10de:1af1, 10de:22a3).
        """
        code = self.class_code
        return (
            self.vendor_id == NVIDIA
            and not isinstance(code, Unknown)
            and code >> 8 == _OTHER_BRIDGE
        )


# Base classes over which a host reaches its disks and networks: mass
# storage, network, serial bus (USB), wireless; 00 is what old devices and
# virtio's transitional ones say.  Source: PCI Code and ID Assignment 1.11.
_CARRIES_HOST = frozenset({0x00, 0x01, 0x02, 0x0C, 0x0D})

# Vendors.  Source: pci.ids.
AMD = 0x1002
"""Of graphics; the processors' own functions are 1022."""
INTEL = 0x8086
NVIDIA = 0x10DE
_OTHER_BRIDGE = 0x0680


_ACCELERATOR = 0x12


class BarKind(enum.StrEnum):
    """Where a base address register (BAR) may lie.

    Only prefetchable memory with 64-bit addresses may lie above 4 GiB: the
    other memory window of a bridge has 32 bits.
    Source: PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.
    """

    PORTS = "I/O ports"
    LOW = "memory below 4 GiB"
    HIGH = "memory above 4 GiB"


class Bar(NamedTuple):
    """A base address register that is in use.

    :param size_bytes: as it is now; that of a resizable one may change.
    """

    size_bytes: int
    kind: BarKind


class Detail(NamedTuple):
    """What a verdict on one function, or showing it, needs as well.

    :param modules: kernel modules whose aliases match it.
    :param driver_override: None when none is set.
    :param reset_methods: in the kernel's order; empty when disabled;
        ``MISSING`` when the function cannot be reset alone or the kernel
        is older than 5.15.
    :param boot_vga: whether it is the firmware's primary display; None for
        one that is no VGA device.
    :param bars: those in use, in their order.
    :param bridges: from the root port down to the nearest.
    :param is_on_vfio: whether vfio-pci, or another VFIO driver, has it.
    :param vgpu_type: of NVIDIA's vGPU that a virtual function carries; 0
        for none; None for a function that can carry none.
    :param mediated_devices: UUIDs of the running vGPUs below it.
    """

    revision: int | Unknown
    header: Header | Unknown
    modules: tuple[str, ...] | Unknown
    driver_override: str | Unknown | None
    reset_methods: tuple[str, ...] | Unknown
    boot_vga: bool | Unknown | None
    bars: tuple[Bar, ...] | Unknown
    sriov: PhysicalFunction | VirtualFunction | Unknown | None
    bridges: tuple[Address, ...]
    is_on_vfio: bool | Unknown
    vgpu_type: int | Unknown | None = None
    mediated_devices: tuple[str, ...] | Unknown = ()


class Identity(NamedTuple):
    """Both ids as config space has them now; ffff for no response."""

    vendor_id: int
    product_id: int


class Binding(NamedTuple):
    """The driver of a function, and the only one that may bind it.

    :param driver: None for no driver.
    :param override: sysfs ``driver_override``; None where any driver may
        bind it.
    """

    driver: str | None
    override: str | None


VFIO = Binding("vfio-pci", "vfio-pci")


class Rebind(NamedTuple):
    """Take one function from one binding to another."""

    address: Address
    was: Binding
    becomes: Binding

    def undo(self) -> Rebind:
        """Return the change that takes it back."""
        return Rebind(self.address, self.becomes, self.was)

    @property
    def is_needed(self) -> bool:
        return self.was != self.becomes

"""What a host is enabled for, as it is planned and remembered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address


class Target(NamedTuple):
    """One function that is to be on vfio-pci after every boot.

    :param modules: of the host's drivers that would take it as well, for
        one kernel or another; sorted, without vfio's.
    :param iommu_group: its number at that time; None where it was in none.
    """

    address: Address
    vendor_id: int
    product_id: int
    class_code: int
    is_primary: bool
    modules: tuple[str, ...] = ()
    iommu_group: int | None = None

    @property
    def ids(self) -> str:
        """``vvvv:pppp``, as the kernel's ``ids=`` takes it."""
        return f"{self.vendor_id:04x}:{self.product_id:04x}"


@dataclasses.dataclass(frozen=True, slots=True)
class Enablement:
    """What ``host enable`` last brought about, for verifying it.

    :param binding: name of the binding driver.
    :param arguments: whole words that the kernel has to be told.
    :param boot_id: of the boot during which it was done; empty where that
        could not be read.
    :param drivers: name of the driver of each kind: ``iommu``,
        ``bootloader``, ``initramfs``.
    """

    targets: tuple[Target, ...]
    binding: str
    arguments: tuple[str, ...]
    boot_id: str
    drivers: Mapping[str, str]

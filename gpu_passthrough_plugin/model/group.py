"""An IOMMU group, and the verdict on it."""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import (
    Detail,
    Function,
    VirtualFunction,
)
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, known


class Role(enum.StrEnum):
    """What a function is in its group."""

    PRIMARY = "primary"
    COMPANION = "companion"
    BRIDGE = "bridge"
    BYSTANDER = "bystander"

    @property
    def is_assigned(self) -> bool:
        """Whether it goes to the guest with its group.

        Bridges and bystanders (functions of the chipset that no driver
        has, such as the dummy host bridges of Ryzen processors) never do,
        and do not keep the kernel from handing the rest over.
        """
        return self in (Role.PRIMARY, Role.COMPANION)


NO_IOMMU = "no-iommu"
"""The rule against a function that no IOMMU isolates."""
SRIOV_ENABLED = "sriov-enabled"
"""The rule against a physical function that has virtual ones."""
IN_USE = "in-use"
"""The rule against what guests may use, itself or its virtual functions."""
VFIO_NO_IOMMU = "vfio-no-iommu"
"""The rule against a group that VFIO made without an IOMMU."""
NO_PRIMARY = "no-primary"
"""The rule against a group of which nothing is selected."""
RESERVED_REGION = "reserved-region"
"""The rule against memory that the firmware wants mapped one to one."""


class Reason(NamedTuple):
    """Why a group cannot be assigned to a guest.

    :param rule: a stable word, such as ``host-critical``.
    :param text: what was found, with addresses.
    :param remedy: what an operator can do about it.
    """

    rule: str
    text: str
    remedy: str


class UsedVF(NamedTuple):
    """A virtual function that a guest may use.

    :param use: what says so, such as ``vGPU type 1120``.
    """

    address: Address
    physical: Address
    use: str


class Member(NamedTuple):
    """A function in its group.

    :param detail: only where judging needed it.
    :param card: what the functions of one card share: the first of them,
        or the port above a card with a switch of its own; None where this
        was not determined.
    """

    function: Function
    role: Role
    detail: Detail | None
    card: Address | None = None

    @property
    def address(self) -> Address:
        return self.function.address

    @property
    def is_on_vfio(self) -> bool | Unknown:
        """Whether a VFIO driver has it; unknown where it was not read."""
        return MISSING if self.detail is None else self.detail.is_on_vfio

    @property
    def is_virtual(self) -> bool:
        """Whether it is known to be a virtual function."""
        return self.detail is not None and isinstance(
            self.detail.sriov, VirtualFunction
        )

    @property
    def used_vf(self) -> UsedVF | None:
        """It as a virtual function that a guest may use; None if it is none.

        With a vGPU, or on a VFIO driver.
        """
        detail = self.detail
        if detail is None or not isinstance(detail.sriov, VirtualFunction):
            return None
        running = known(detail.mediated_devices)
        if running:
            use = f"vGPU {', '.join(running)}"
        elif isinstance(detail.vgpu_type, int) and detail.vgpu_type:
            use = f"vGPU type {detail.vgpu_type}"
        elif detail.is_on_vfio is True:
            use = f"on {self.function.driver}"
        else:
            return None
        return UsedVF(self.address, detail.sriov.physical, use)


class ReservedRegion(NamedTuple):
    """Addresses that a guest's memory may not have, as sysfs lists them.

    :param kind: such as ``msi``, ``reserved``, ``direct`` (the firmware
        wants them mapped one to one) and ``direct-relaxable``.
    """

    first: int
    last: int
    kind: str


class GroupAttributes(NamedTuple):
    """What the kernel says of a group beyond its members.

    Source: Linux, Documentation/ABI/testing/sysfs-kernel-iommu_groups.

    :param name: None for a group without one; VFIO names those that it
        makes without an IOMMU.
    :param reserved_regions: ``MISSING`` where the kernel is older than 4.11.
    """

    name: str | Unknown | None
    reserved_regions: tuple[ReservedRegion, ...] | Unknown


class Verdict(NamedTuple):
    """Whether a group can be assigned: when no reason is against it.

    :param notes: what an operator should know all the same, such as that
        two cards come as one.
    :param is_isolated: False where the hardware may not isolate the group.
    """

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    is_isolated: bool = True

    @property
    def is_assignable(self) -> bool:
        return not self.reasons


class Group(NamedTuple):
    """An IOMMU group: the smallest set of functions that can be isolated.

    :param number: the kernel's, or None for a function in no group.
    :param members: by address, bridges included.
    """

    number: int | None
    members: tuple[Member, ...]
    verdict: Verdict

    @property
    def primaries(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.role is Role.PRIMARY)

    @property
    def endpoints(self) -> tuple[Member, ...]:
        """Every member that goes to the guest: no bridge, no bystander."""
        return tuple(m for m in self.members if m.role.is_assigned)

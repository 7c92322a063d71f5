"""An IOMMU group, and the verdict on it."""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Detail, Function
from gpu_passthrough_plugin.model.reading import MISSING, Unknown


class Role(enum.StrEnum):
    """What a function is in its group."""

    PRIMARY = "primary"
    COMPANION = "companion"
    BRIDGE = "bridge"


class Reason(NamedTuple):
    """Why a group cannot be assigned to a guest.

    :param rule: a stable word, such as ``host-critical``.
    :param text: what was found, with addresses.
    :param remedy: what an operator can do about it.
    """

    rule: str
    text: str
    remedy: str


class Member(NamedTuple):
    """A function in its group.

    :param detail: None where the function was not read in full.
    """

    function: Function
    role: Role
    detail: Detail | None

    @property
    def address(self) -> Address:
        return self.function.address

    @property
    def is_on_vfio(self) -> bool | Unknown:
        """Whether a VFIO driver has it; unknown where it was not read."""
        return MISSING if self.detail is None else self.detail.is_on_vfio


class Verdict(NamedTuple):
    """Whether a group can be assigned: when no reason is against it.

    :param notes: what an operator should know all the same, such as that
        two cards come as one.
    """

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]

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
        """Every member that is passed to a guest: all but bridges."""
        return tuple(m for m in self.members if m.role is not Role.BRIDGE)

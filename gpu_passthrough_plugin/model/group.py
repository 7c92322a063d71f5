"""An IOMMU group, and the verdict on it."""

from __future__ import annotations

import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Detail, Function
from gpu_passthrough_plugin.model.reading import MISSING, Unknown


class Role(enum.StrEnum):
    """What a member is to its group."""

    PRIMARY = "primary"
    COMPANION = "companion"
    BRIDGE = "bridge"


class Reason(NamedTuple):
    """Why a group cannot be handed out.

    :param rule: a stable word, such as ``host-critical``.
    :param text: what was found, with addresses.
    :param remedy: what an operator can do about it.
    """

    rule: str
    text: str
    remedy: str


class Member(NamedTuple):
    """A function in its group; ``detail`` only where judging needed it."""

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
    """Assignable when there is no reason against it.

    :param notes: what an operator should know all the same, such as that
        two cards come as one.
    """

    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]

    @property
    def is_assignable(self) -> bool:
        return not self.reasons


class Group(NamedTuple):
    """The smallest set of functions that can be isolated from the rest.

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
        """Every member that goes to the guest: bridges never do."""
        return tuple(m for m in self.members if m.role is not Role.BRIDGE)

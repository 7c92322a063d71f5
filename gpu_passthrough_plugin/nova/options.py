"""What an operator wants Nova to be told, and of which hosts."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import (
    NEWEST,
    Feature,
    Release,
)
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.model.unit import Unit


class Mode(enum.StrEnum):
    """How much of a group Nova sees.

    Primary: one function, which stands for all of them; its companions
    are reserved on the host, and no guest gets them.  Full: every
    endpoint, which takes a scheduler filter that keeps them together.
    """

    PRIMARY = "primary"
    FULL = "full"


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The choices; None leaves one to Nova's own default.

    :param managed: whether libvirt binds and unbinds the functions.
    :param one_time_use: whether a unit stays reserved after its instance,
        until somebody has looked at it.
    :param host_trait: what Placement is to say of every host with units,
        and every flavor to require.
    :raises Refused: for full mode on a release that cannot do it.
    """

    release: Release = NEWEST
    mode: Mode = Mode.PRIMARY
    managed: bool | None = None
    live_migratable: bool | None = None
    one_time_use: bool | None = None
    numa_policy: NumaPolicy | None = None
    host_trait: str | None = None

    def __post_init__(self) -> None:
        if self.mode is Mode.FULL and not self.release.has_placement:
            raise errors.Refused(
                f"{self.release} does not schedule PCI devices by"
                f" Placement ({Feature.SCHEDULE} came later), which full"
                " mode needs to keep a group together; use primary mode"
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """A compute host as it is handed to Nova.

    :param name: as Nova calls it.
    :param units: what its assignable groups make.
    :param refused: its groups that are not assignable, to say why.
    :param has_acs_override: its kernel was told to take functions for
        isolated that do not say so themselves.
    """

    name: str
    units: tuple[Unit, ...]
    refused: tuple[Group, ...] = ()
    has_acs_override: bool = False


def has_acs_override(kernel_arguments: tuple[str, ...]) -> bool:
    """Whether a kernel started with these may isolate less than it says.

    It is no option of the kernel's own: those who patch it in have it.
    Source: https://lkml.org/lkml/2013/5/30/513
    """
    return any(a.startswith("pcie_acs_override=") for a in kernel_arguments)

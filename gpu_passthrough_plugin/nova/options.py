"""Which choices an operator has when Nova's configuration is generated."""

from __future__ import annotations

import dataclasses
import enum

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import (
    NEWEST,
    Feature,
    Release,
)
from gpu_passthrough_plugin.model.request import NumaPolicy


class Mode(enum.StrEnum):
    """How much of an IOMMU group Nova sees.

    Primary: one function, which stands for the whole group; its companions
    are reserved on the host and never passed to a guest.  Full: every
    endpoint, which needs a scheduler filter that keeps them together.
    """

    PRIMARY = "primary"
    FULL = "full"


@dataclasses.dataclass(frozen=True, slots=True)
class NovaOptions:
    """An operator's choices; None leaves one to Nova's own default.

    :param managed: whether libvirt binds and unbinds the functions.
    :param one_time_use: whether a unit stays reserved after its instance
        is deleted, until an operator releases it.
    :param host_trait: a trait for Placement to report of every host with
        units, and for every flavor to require.
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
                f"full mode needs {Feature.SCHEDULE} to keep a group"
                f" together, which {self.release} does not have; use primary"
                " mode"
            )

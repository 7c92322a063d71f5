"""``[release]``: what becomes of a unit that an instance gave back."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section

GROUP = "release"

RESTORE_DRIVERS = cfg.BoolOpt(
    "restore_drivers",
    default=True,
    help="""
Whether functions get back the drivers they had before they were handed out.
Say false where every selected card is for guests only: functions stay on
vfio-pci then, and the next instance starts sooner.
""",
)
# The kernel itself waits so long for a function that was reset.  Source:
# drivers/pci/pci.h, PCIE_RESET_READY_POLL_MS.
RESET_TIMEOUT_S = cfg.IntOpt(
    "reset_timeout_s",
    default=60,
    min=1,
    max=600,
    help="""
How many seconds a function has to answer again after a reset. A unit that
does not is quarantined and offered to nobody.
""",
)
OPTS = (RESTORE_DRIVERS, RESET_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """What ``[release]`` says."""

    restore_drivers: bool
    reset_timeout_s: int


def parse(section: Section) -> Release:
    """The group's values; what is wrong in it is in ``section.faults``."""
    return Release(
        bool(section.value(RESTORE_DRIVERS)),
        int(section.value(RESET_TIMEOUT_S)),
    )

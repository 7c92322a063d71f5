"""``[release]``: how a unit becomes clean again, and when it is suspect."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.sanitising import SanitiseSettings

GROUP = "release"

RESTORE_DRIVERS = cfg.BoolOpt(
    "restore_drivers",
    default=True,
    help="""
Whether released functions are bound to the drivers again that they had
before a guest was given them. Set it to false where every selected card is
for guests only: functions then stay on vfio-pci, and the next instance
starts sooner.
""",
)
# The kernel itself waits as long for a function that was reset.  Source:
# drivers/pci/pci.h, PCIE_RESET_READY_POLL_MS.
RESET_TIMEOUT_S = cfg.IntOpt(
    "reset_timeout_s",
    default=60,
    min=1,
    max=600,
    help="""
How many seconds a function may take to respond after a reset. A unit with a
function that does not respond is quarantined, and no guest is given it.
""",
)
KERNEL_TIMEOUT_S = cfg.IntOpt(
    "kernel_timeout_s",
    default=120,
    min=5,
    max=3600,
    help="""
How many seconds the kernel may take to reset a function, or to take it from
a driver or give it to one. A process that does not end by then is killed, or
left where the kernel does not let it be killed; the unit is quarantined, and
this host's lock is released. The kernel itself waits up to 60 seconds for a
function that was reset.
""",
)
SANITISE_DRIVER = cfg.StrOpt(
    "sanitise_driver",
    default="",
    help="""
The driver that wipes what a guest left in the memory of a device, between
two resets. If it fails, the unit is quarantined.

Possible values:

* empty: ``command`` where ``sanitise_command`` is set, and none otherwise;
  the event of each released unit then says that it was not sanitised
* ``command``: runs ``sanitise_command``
* the name of a driver that is installed, by its entry point in
  ``gpu_passthrough_plugin.sanitise``
""",
)
SANITISE_COMMAND = cfg.StrOpt(
    "sanitise_command",
    default="",
    help="""
A program, by its path, with its arguments, that wipes what a guest left in
the memory of a device. It is run for each unit between two resets, without a
shell; it has to know a way to reach functions that are on vfio-pci. If it
fails, the unit is quarantined. Without it, the event of each released unit
says that the unit was not sanitised.

It is told about the unit in the variables ``GPU_PASSTHROUGH_HOST``,
``_ADDRESSES`` (separated by spaces, the lowest primary first), ``_GROUP``,
``_VENDOR`` and ``_PRODUCT`` (hexadecimal, of that primary), ``_CONSUMER``,
``_CONSUMER_NAME`` and ``_PREVIOUS_CONSUMER`` (empty where it is not known),
each with that prefix. This host's lock is held while it runs.
""",
)
SANITISE_TIMEOUT_S = cfg.IntOpt(
    "sanitise_timeout_s",
    default=300,
    min=1,
    max=86400,
    help="""
How many seconds the driver may take for a unit; its process is killed after
that, and the unit is quarantined.
""",
)
CHECK_HEALTH = cfg.BoolOpt(
    "check_health",
    default=True,
    help="""
Whether links, power states and error counters (AER) are compared with what
they were before the guest. A unit that is clean but worse is quarantined as
suspect; see the guide, "Health and metrics".
""",
)
CORRECTABLE_ERRORS = cfg.IntOpt(
    "correctable_errors",
    default=0,
    min=0,
    help="""
How many errors that its link corrected a function may report, from when its
unit was last known to be good, before the unit is suspect. 0 is for any
number: many links that work have some.
""",
)
OPTS = (
    RESTORE_DRIVERS,
    RESET_TIMEOUT_S,
    KERNEL_TIMEOUT_S,
    SANITISE_DRIVER,
    SANITISE_COMMAND,
    SANITISE_TIMEOUT_S,
    CHECK_HEALTH,
    CORRECTABLE_ERRORS,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """The values of ``[release]``.

    :param sanitise_driver: its name; empty for the one that there is.
    :param correctable_errors: None for any number.
    """

    restore_drivers: bool
    reset_timeout_s: int
    kernel_timeout_s: int
    sanitise_driver: str
    sanitising: SanitiseSettings
    check_health: bool = True
    correctable_errors: int | None = None


def parse(section: Section) -> Release:
    """Return the group's values; add its faults to ``section.faults``."""
    return Release(
        bool(section.value(RESTORE_DRIVERS)),
        int(section.value(RESET_TIMEOUT_S)),
        int(section.value(KERNEL_TIMEOUT_S)),
        str(section.value(SANITISE_DRIVER) or "").strip(),
        SanitiseSettings(
            section.command(SANITISE_COMMAND),
            int(section.value(SANITISE_TIMEOUT_S)),
        ),
        bool(section.value(CHECK_HEALTH)),
        int(section.value(CORRECTABLE_ERRORS)) or None,
    )

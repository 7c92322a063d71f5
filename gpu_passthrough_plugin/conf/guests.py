"""How guests start and stop: ``[libvirt]``, ``[hook]`` and ``[release]``."""

from __future__ import annotations

import dataclasses
import re

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.hook import HookMode

LIBVIRT_GROUP = "libvirt"
_URI = re.compile(r"[a-z]+(\+[a-z0-9]+)?://\S*")

CONNECTION_URI = cfg.StrOpt(
    "connection_uri",
    default="qemu:///system",
    help="""
The libvirt daemon that starts this host's guests. It has to run on this
host, because functions are bound here.

Possible values:

* a libvirt URI; see https://libvirt.org/uri.html
""",
)
STOP_TIMEOUT_S = cfg.IntOpt(
    "stop_timeout_s",
    default=60,
    min=0,
    max=3600,
    help="""
How many seconds a guest has to shut down when its instance is released;
then it is switched off. 0 switches it off at once.
""",
)
LIBVIRT_OPTS = (CONNECTION_URI, STOP_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Libvirt:
    """What ``[libvirt]`` says."""

    connection_uri: str
    stop_timeout_s: int


def parse_libvirt(section: Section) -> Libvirt:
    """The group's values; what is wrong in it is in ``section.faults``."""
    uri = str(section.value(CONNECTION_URI))
    if not _URI.fullmatch(uri):
        section.fault(
            CONNECTION_URI, "wanted a libvirt URI such as qemu:///system"
        )
    return Libvirt(uri, int(section.value(STOP_TIMEOUT_S)))


HOOK_GROUP = "hook"

MODE = cfg.StrOpt(
    "mode",
    default=str(HookMode.ANY),
    help="""
Which functions of a group the libvirt hook requires a guest to take before
it lets the guest start. Guests of ``instance boot`` always take all of them.

Possible values:

* ``any``: either of the others;
* ``full``: every function of the group but its bridges;
* ``primary``: each selected function, and none of the others, which have to
  be on vfio-pci, on pci-stub or on no driver.

Related options:

* ``nova config --mode`` makes Nova ask for one or the other.
""",
)
WAIT_S = cfg.IntOpt(
    "wait_s",
    default=60,
    min=0,
    max=600,
    help="""
How many seconds the libvirt hook lets a starting guest wait for a unit
that is still being reset after its previous guest, as when Nova hands a card
on or hard-reboots a guest. libvirt waits as long.
""",
)
HOOK_OPTS = (MODE, WAIT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """What ``[hook]`` says."""

    mode: HookMode
    wait_s: int


def parse_hook(section: Section) -> Hook:
    """Return the group's values; its faults go to ``section.faults``."""
    mode = str(section.value(MODE))
    if mode not in list(HookMode):
        section.fault(MODE, f"wanted one of: {', '.join(HookMode)}")
        mode = HookMode.ANY
    return Hook(HookMode(mode), int(section.value(WAIT_S)))


RELEASE_GROUP = "release"

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
RELEASE_OPTS = (RESTORE_DRIVERS, RESET_TIMEOUT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """What ``[release]`` says."""

    restore_drivers: bool
    reset_timeout_s: int


def parse_release(section: Section) -> Release:
    """The group's values; what is wrong in it is in ``section.faults``."""
    return Release(
        bool(section.value(RESTORE_DRIVERS)),
        int(section.value(RESET_TIMEOUT_S)),
    )

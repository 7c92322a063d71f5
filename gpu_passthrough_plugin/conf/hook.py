"""``[hook]``: which guests the libvirt hook lets start."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.hook import HookMode

GROUP = "hook"

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
OPTS = (MODE, WAIT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """What ``[hook]`` says."""

    mode: HookMode
    wait_s: int


def parse(section: Section) -> Hook:
    """Return the group's values; its faults go to ``section.faults``."""
    mode = str(section.value(MODE))
    if mode not in list(HookMode):
        section.fault(MODE, f"wanted one of: {', '.join(HookMode)}")
        mode = HookMode.ANY
    return Hook(HookMode(mode), int(section.value(WAIT_S)))

"""``[hook]``: what libvirt's hook lets a guest have."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf.section import Section
from gpu_passthrough_plugin.model.guard import MODES

GROUP = "hook"

MODE = cfg.StrOpt(
    "mode",
    default="any",
    help="""
Which functions of a group a guest has to have so that libvirt's hook lets it
start. Guests of ``instance boot`` always have all of them.

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
How many seconds a guest that starts waits for what another one had, or it
had itself, to be reset, as when Nova hands a card on or reboots a guest the
hard way. libvirt waits with it.
""",
)
OPTS = (MODE, WAIT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class Hook:
    """What ``[hook]`` says.

    :param mode: one of ``model.guard.MODES``.
    """

    mode: str
    wait_s: int


def parse(section: Section) -> Hook:
    """The group's values; what is wrong in it is in ``section.faults``."""
    mode = str(section.value(MODE))
    if mode not in MODES:
        section.fault(MODE, f"wanted one of: {', '.join(MODES)}")
    return Hook(mode, int(section.value(WAIT_S)))

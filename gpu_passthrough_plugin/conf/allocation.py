"""``[allocation]``: who keeps the ledger of units and their consumers."""

from __future__ import annotations

import dataclasses

from oslo_config import cfg

from gpu_passthrough_plugin.conf import drivers
from gpu_passthrough_plugin.conf.section import Section

GROUP = "allocation"
NAMESPACE = "gpu_passthrough_plugin.allocation"

DRIVER = cfg.StrOpt(
    "driver",
    default="sql",
    help=f"""
Driver that keeps the ledger. All hosts of a cloud use the same one.

Possible values:

* ``sql``: the database that ``[database] connection`` names;
* the name of any other entry point in ``{NAMESPACE}``.
""",
)
OPTS = (DRIVER,)


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """What ``[allocation]`` says.

    :param driver: an entry point's name in ``NAMESPACE``.
    """

    driver: str


def parse(section: Section) -> Allocation:
    """The group's values; what is wrong in it is in ``section.faults``."""
    driver = str(section.value(DRIVER))
    # Looking for entry points reads the metadata of everything that is
    # installed; the default needs no looking for.
    if driver != DRIVER.default:
        names = drivers.installed(NAMESPACE) | {DRIVER.default}
        if driver not in names:
            section.fault(DRIVER, drivers.wanted(names))
    return Allocation(driver)

"""PCI functions in the sysfs path of a device.

Example: ``/devices/pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme0``.
Source: Linux, drivers/pci/probe.c (names of host bridges),
drivers/pci/controller/vmd.c.
"""

from __future__ import annotations

import re

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address

# The directory of a host bridge, ``pciDOMAIN:BUS``.  Intel's VMD controller
# adds a second one below its own function.
_HIERARCHY = re.compile(r"/pci[0-9a-f]{4,8}:[0-9a-f]{2}(?=/)")


def endpoints(path: str) -> list[Address]:
    """Return the last function of each PCI hierarchy on the path.

    The functions before it in that hierarchy are bridges.  Usually one; two
    where a function such as Intel's VMD has a PCI domain of its own below
    it; none for a device that is not below PCI.

    :param path: with or without ``/sys``; links in it are not followed.
    """
    hierarchies = _HIERARCHY.split(path)[1:]
    chains = map(functions, hierarchies)
    return [chain[-1] for chain in chains if chain]


def functions(path: str) -> list[Address]:
    """Return every function on the path, topmost first."""
    addresses_on_path = []
    for part in path.split("/"):
        try:
            addresses_on_path.append(addresses.parse(part))
        except errors.Invalid:
            continue
    return addresses_on_path

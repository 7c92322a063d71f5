"""Endpoints on a device's path."""

from __future__ import annotations

import re

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address as addresses
from gpu_passthrough_plugin.model.address import Address

# A host bridge begins a hierarchy: the first one, or one that a function
# such as Intel's VMD makes of its own.
_HIERARCHY = re.compile(r"/pci[0-9a-f]{4,8}:[0-9a-f]{2}(?=/)")


def on_path(path: str) -> list[Address]:
    """The last function of each PCI hierarchy that the path leads through.

    Those before it are bridges.  Usually one; two where a function such
    as Intel's VMD hides a hierarchy of its own; none for a device that is
    not below PCI.
    """
    hierarchies = _HIERARCHY.split(path)[1:]
    return [found[-1] for found in map(functions, hierarchies) if found]


def functions(path: str) -> list[Address]:
    """Every function that the path leads through, topmost first."""
    found = []
    for part in path.split("/"):
        try:
            found.append(addresses.parse(part))
        except errors.Invalid:
            continue
    return found

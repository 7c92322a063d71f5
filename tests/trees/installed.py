"""How a described host boots, as this checkout's own drivers read it."""

from __future__ import annotations

import configparser
import functools
import importlib
from pathlib import Path

from gpu_passthrough_plugin.discovery import installation as discovery
from gpu_passthrough_plugin.discovery import record
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import Driver
from gpu_passthrough_plugin.formats import modprobe
from gpu_passthrough_plugin.model.installation import Installation, Reads

_SETUP = Path(__file__).parents[2] / "setup.cfg"
_KINDS = ("bootloader", "initramfs", "binding", "iommu")


def drivers() -> tuple[Driver, ...]:
    """Every driver that setup.cfg names, whatever is installed."""
    setup = configparser.ConfigParser()
    setup.read(_SETUP, encoding="utf-8")
    points = setup["entry_points"]
    lines = "\n".join(points[f"gpu_passthrough_plugin.{k}"] for k in _KINDS)
    made = []
    for line in lines.split("\n"):
        module, colon, name = line.partition("=")[2].strip().partition(":")
        if colon:
            made.append(getattr(importlib.import_module(module), name)())
    return tuple(made)


@functools.cache
def reads() -> Reads:
    """All that is read of how a host boots."""
    declared = (driver.reads for driver in drivers())
    return functools.reduce(Reads.__or__, declared, kernel_modules.READS) | (
        modprobe.READS
    )


def installation(tree: Tree) -> Installation:
    return discovery.installation(tree, reads())


def recorded(tree: Tree) -> bytes:
    """A recording of the host, with all that drivers read of it."""
    return record.written(tree, reads())

"""The base address registers (BARs) of a PCI function, from sysfs."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.reading import Unknown, Why, decoded

# They come first in ``resource``.
# Source: Linux, include/linux/pci.h (PCI_STD_RESOURCES).
_BARS = 6
# Source: Linux, include/linux/ioport.h (IORESOURCE_IO, IORESOURCE_PREFETCH,
# IORESOURCE_MEM_64).
_PORTS, _PREFETCHABLE, _64_BIT = 0x100, 0x2000, 0x100000


def bars(tree: Tree, address: Address) -> tuple[Bar, ...] | Unknown:
    """Return the BARs of a function, and read nothing else of it."""
    folder = f"sys/bus/pci/devices/{address}"
    return parse(tree.gather(folder, ("resource",))[0][0])


def parse(resource: bytes | Unknown) -> tuple[Bar, ...] | Unknown:
    """Return BARs from lines of first address, last address and flags.

    Source: Linux, drivers/pci/pci-sysfs.c (resource_show).
    """
    if isinstance(resource, Unknown):
        return resource
    bars = []
    for line in decoded(resource).split("\n")[:_BARS]:
        try:
            first, last, flags = (int(word, 16) for word in line.split())
        except ValueError:
            return Unknown(Why.MALFORMED, line)
        if flags and last >= first:
            bars.append(Bar(last - first + 1, _kind(flags)))
    return tuple(bars)


def _kind(flags: int) -> BarKind:
    if flags & _PORTS:
        return BarKind.PORTS
    is_high = flags & _PREFETCHABLE and flags & _64_BIT
    return BarKind.HIGH if is_high else BarKind.LOW

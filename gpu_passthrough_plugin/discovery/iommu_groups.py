"""What the kernel says of an IOMMU group beyond its members."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.model.group import (
    GroupAttributes,
    ReservedRegion,
)
from gpu_passthrough_plugin.model.reading import (
    MISSING,
    Unknown,
    Why,
    decoded,
)

_GROUPS = "sys/kernel/iommu_groups"
# A group has a handful; a fabricated list is cut off.
_MOST_BYTES = 1 << 16


def attributes(tree: Tree, number: int) -> GroupAttributes:
    """Return the attributes of the group with that number."""
    folder = f"{_GROUPS}/{number}"
    name = tree.read(f"{folder}/name", _MOST_BYTES)
    regions = tree.read(f"{folder}/reserved_regions", _MOST_BYTES)
    return GroupAttributes(_name(name), _regions(regions))


def _name(data: bytes | Unknown) -> str | Unknown | None:
    if data is MISSING:
        return None
    return data if isinstance(data, Unknown) else decoded(data)


def _regions(
    data: bytes | Unknown,
) -> tuple[ReservedRegion, ...] | Unknown:
    """Return regions from lines of first address, last address and kind."""
    if isinstance(data, Unknown):
        return data
    regions = []
    for line in decoded(data).splitlines():
        try:
            first, last, kind = line.split()
            regions.append(ReservedRegion(int(first, 16), int(last, 16), kind))
        except ValueError:
            return Unknown(Why.MALFORMED, line)
    return tuple(regions)

"""Units in few words."""

from __future__ import annotations

from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)


def unit(*functions: str) -> Unit:
    """A unit of functions, the primaries marked by a star."""
    made = tuple(
        UnitFunction(
            address.parse(text.rstrip("*")),
            0x10DE,
            0x1430,
            0x030000,
            DeviceType.PCI,
            text.endswith("*"),
        )
        for text in functions
    )
    first = next(f for f in made if f.is_primary)
    return Unit(UnitKey("node", first.address), 1, made, None, None, None)

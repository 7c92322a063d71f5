"""How a unit's functions are named: resource classes, aliases, flavors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.model.unit import DeviceType, Unit, UnitFunction
from gpu_passthrough_plugin.nova.options import Mode

# Base classes of displays and of processing accelerators.
# Source: PCI Code and ID Assignment 1.11.
_GPU = frozenset({0x03, 0x12})
_PREFIX, _OF = "CUSTOM_PCI_", "_OF_"
_SUFFIX: Mapping[DeviceType, str] = {
    DeviceType.PCI: "",
    DeviceType.PF: "_PF",
    DeviceType.VF: "_VF",
}
# Source: placement, schemas/resource_class.py; nova, the JSON schema of a
# flavor's name and of its extra specs.
MAX_LENGTH = 255

Items = tuple[tuple[str, int], ...]
"""Aliases, and how many functions of each."""


def listed_functions(unit: Unit, mode: Mode) -> tuple[UnitFunction, ...]:
    """Return the functions of a unit that Nova may see, by address."""
    return unit.functions if mode is Mode.FULL else unit.primaries[:1]


def resource_class(unit: Unit, function: UnitFunction) -> str | None:
    """Return a class of its own for a function of a unit of several cards.

    None for any other unit: Nova makes ``CUSTOM_PCI_VVVV_PPPP`` itself.
    """
    if len(unit.primaries) < 2:
        return None
    counts = Counter(map(_ids, unit.primaries))
    members = "_".join(
        f"{ids}_X{count}" if count > 1 else ids
        for ids, count in sorted(counts.items())
    )
    name = f"{_PREFIX}{_ids(function)}{_OF}{members}"
    if len(name) > MAX_LENGTH:
        name = f"{_PREFIX}{_ids(function)}{_OF}X{len(unit.primaries)}"
    return name


def alias(unit: Unit, function: UnitFunction) -> str:
    """Return a name that is the same for such a function on any host.

    Functions that Nova can tell apart never share a name: it contains the
    ids, the type, and the class where that is not Nova's own.
    """
    prefix = "gpu" if function.class_code >> 16 in _GPU else "pci"
    own_class = resource_class(unit, function) or ""
    members = own_class.removeprefix(f"{_PREFIX}{_ids(function)}")
    device_type = _SUFFIX[function.device_type]
    return _word(f"{prefix}_{_ids(function)}{device_type}{members}")


def items(unit: Unit, mode: Mode) -> Items:
    """Return what a flavor asks for to get the unit.

    The lowest primary's alias comes first, then the others by name.
    """
    first = alias(unit, unit.primaries[0])
    counts = Counter(alias(unit, f) for f in listed_functions(unit, mode))
    rest = sorted((name, n) for name, n in counts.items() if name != first)
    return ((first, counts[first]), *rest)


def flavor(items: Iterable[tuple[str, int]]) -> str:
    """Return a flavor's name, which differs for whatever is asked for.

    The alias of the lowest primary, then what comes along with it, without
    the list of members that the first alias ends with.
    """
    (first, count), *rest = items
    _, separator, members = first.partition(_word(_OF))
    suffix = f"{separator}{members}"
    return "+".join(
        (
            _times(first, count),
            *(_times(name.replace(suffix, ""), n) for name, n in rest),
        )
    )


def alias_text(items: Iterable[tuple[str, int]]) -> str:
    """Return the value of a flavor's ``pci_passthrough:alias``."""
    return ",".join(f"{name}:{count}" for name, count in items)


def _times(name: str, count: int) -> str:
    return f"{name}-x{count}" if count > 1 else name


def _word(text: str) -> str:
    return text.lower().replace("_", "-")


def _ids(function: UnitFunction) -> str:
    return f"{function.vendor_id:04X}_{function.product_id:04X}"

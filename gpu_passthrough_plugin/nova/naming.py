"""What Placement and Nova call a unit's functions."""

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
MOST = 255


def listed(unit: Unit, mode: Mode) -> tuple[UnitFunction, ...]:
    """The functions of a unit that Nova may see, by address."""
    return unit.functions if mode is Mode.FULL else unit.primaries[:1]


def resource_class(unit: Unit, function: UnitFunction) -> str | None:
    """A class of its own for a function of a unit of several cards.

    None for any other: Nova makes ``CUSTOM_PCI_VVVV_PPPP`` itself.
    """
    if len(unit.primaries) < 2:
        return None
    counts = Counter(map(_ids, unit.primaries))
    of = "_".join(
        f"{ids}_X{count}" if count > 1 else ids
        for ids, count in sorted(counts.items())
    )
    name = f"{_PREFIX}{_ids(function)}{_OF}{of}"
    if len(name) > MOST:
        name = f"{_PREFIX}{_ids(function)}{_OF}X{len(unit.primaries)}"
    return name


def alias(unit: Unit, function: UnitFunction) -> str:
    """A name that says what it stands for, on any host the same.

    Functions that Nova tells apart never have the same: it says the ids,
    the type, and the class where that is another than Nova's own.
    """
    kind = "gpu" if function.class_code >> 16 in _GPU else "pci"
    own = resource_class(unit, function) or ""
    of = own.removeprefix(f"{_PREFIX}{_ids(function)}")
    device_type = _SUFFIX[function.device_type]
    return _word(f"{kind}_{_ids(function)}{device_type}{of}")


def items(unit: Unit, mode: Mode) -> tuple[tuple[str, int], ...]:
    """What a flavor asks for to get the unit: aliases, and how many of each.

    The lowest primary's comes first, then the others by name.
    """
    first = alias(unit, unit.primaries[0])
    counts = Counter(alias(unit, f) for f in listed(unit, mode))
    rest = sorted((name, n) for name, n in counts.items() if name != first)
    return ((first, counts[first]), *rest)


def flavor(wanted: Iterable[tuple[str, int]]) -> str:
    """A flavor's name, another for whatever is asked for.

    The alias of the lowest primary, and what comes along with it; that a
    function is one of several cards the first has said already.
    """
    (first, count), *rest = wanted
    _, said, of = first.partition(_word(_OF))
    return "+".join(
        (
            _times(first, count),
            *(_times(name.replace(f"{said}{of}", ""), n) for name, n in rest),
        )
    )


def alias_text(wanted: Iterable[tuple[str, int]]) -> str:
    """The value of a flavor's ``pci_passthrough:alias``."""
    return ",".join(f"{name}:{count}" for name, count in wanted)


def _times(name: str, count: int) -> str:
    return f"{name}-x{count}" if count > 1 else name


def _word(text: str) -> str:
    return text.lower().replace("_", "-")


def _ids(function: UnitFunction) -> str:
    return f"{function.vendor_id:04X}_{function.product_id:04X}"

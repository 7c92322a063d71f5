"""What is true of a unit, as traits, and back.

``CUSTOM_GPUPT_`` and one of

* ``GROUP_<number>``, ``NODE_<number>``, ``SOCKET_<number>``
* ``SWITCH_<address>``
* ``F_<address>_<vendor>_<product>_<class>_<PCI, PF or VF>_<P or C>``, of
  each function: a primary or a companion
* ``REASON_…``, why it is quarantined (``text``)

The unit's own traits stand beside them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpu_passthrough_plugin.allocation.placement import text
from gpu_passthrough_plugin.allocation.placement.names import (
    FACT,
    IS_UNIT,
    address_in,
    address_text,
)
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    Unit,
    UnitFunction,
    UnitKey,
)

REASON = "REASON"
_TYPE = "type-"


def traits(unit: Unit, reason: str = "") -> frozenset[str]:
    """Every trait of a unit's provider."""
    numbers = {
        "GROUP": unit.iommu_group,
        "NODE": unit.numa_node,
        "SOCKET": unit.socket,
    }
    words = {
        f"{name}_{number}"
        for name, number in numbers.items()
        if number is not None
    }
    if unit.switch is not None:
        words.add(f"SWITCH_{address_text(unit.switch)}")
    words |= {_function_text(function) for function in unit.functions}
    own = {f"{FACT}{word}" for word in words}
    said = text.traits(REASON, [reason])
    return frozenset(own | said | unit.traits | {IS_UNIT})


def _function_text(function: UnitFunction) -> str:
    kind = function.device_type.value.removeprefix(_TYPE)
    return (
        f"F_{address_text(function.address)}"
        f"_{function.vendor_id:04X}_{function.product_id:04X}"
        f"_{function.class_code:06X}_{kind}"
        f"_{'P' if function.is_primary else 'C'}"
    )


def unit(host: str, found: Iterable[str]) -> Unit | None:
    """The unit of a host that these traits tell of; None if of none."""
    found = frozenset(found)
    words: dict[str, list[list[str]]] = {}
    for trait in found:
        if trait.startswith(FACT):
            name, *parts = trait.removeprefix(FACT).split("_")
            words.setdefault(name, []).append(parts)
    functions = sorted(
        (_function(parts) for parts in words.get("F", ())),
        key=lambda function: function.address,
    )
    primaries = [f.address for f in functions if f.is_primary]
    group = _number(words.get("GROUP"))
    if not primaries or group is None:
        return None
    switches = words.get("SWITCH")
    return Unit(
        key=UnitKey(host, primaries[0]),
        iommu_group=group,
        functions=tuple(functions),
        numa_node=_number(words.get("NODE")),
        socket=_number(words.get("SOCKET")),
        switch=address_in(switches[0]) if switches else None,
        traits=frozenset(
            trait for trait in found - {IS_UNIT} if not trait.startswith(FACT)
        ),
    )


def _function(parts: list[str]) -> UnitFunction:
    vendor, product, code, kind, role = parts[4:]
    return UnitFunction(
        address=address_in(parts[:4]),
        vendor_id=int(vendor, 16),
        product_id=int(product, 16),
        class_code=int(code, 16),
        device_type=DeviceType(f"{_TYPE}{kind}"),
        is_primary=role == "P",
    )


def _number(found: list[list[str]] | None) -> int | None:
    return int(found[0][0]) if found else None


def reason(found: Iterable[str]) -> str:
    """Why a unit was quarantined, if it was."""
    return "".join(text.texts(REASON, found))

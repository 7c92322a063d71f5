"""Units and requests in few words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from gpu_passthrough_plugin.allocation import choice
from gpu_passthrough_plugin.model import request as requests
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import FreeUnit, HostRecord
from gpu_passthrough_plugin.model.request import (
    Alias,
    NumaPolicy,
    Request,
    Spec,
)
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)

NVIDIA = 0x10DE
GPU, NIC, AUDIO = 0x1430, 0x1017, 0x0FBA


def function(
    address: Address, product_id: int, *, is_primary: bool
) -> UnitFunction:
    return UnitFunction(
        address=address,
        vendor_id=NVIDIA,
        product_id=product_id,
        class_code=0x030000 if is_primary else 0x040300,
        device_type=DeviceType.PCI,
        is_primary=is_primary,
    )


def unit(
    bus: int,
    *cards: int,
    host: str = "h",
    node: int | None = 0,
    socket: int | None = None,
    switch: int | None = None,
    group: int | None = None,
    traits: str = "",
) -> Unit:
    """A unit at a bus: a slot for each card (a GPU), each with audio.

    :param traits: names, of which each gets its ``CUSTOM_``.
    """
    functions = []
    for slot, card in enumerate(cards or (GPU,)):
        first = Address(0, bus, slot, 0)
        functions.append(function(first, card, is_primary=True))
        second = Address(0, bus, slot, 1)
        functions.append(function(second, AUDIO, is_primary=False))
    return Unit(
        key=UnitKey(host, Address(0, bus, 0, 0)),
        iommu_group=bus if group is None else group,
        functions=tuple(functions),
        numa_node=node,
        socket=socket,
        switch=None if switch is None else Address(0, 0, switch, 0),
        traits=custom(traits),
    )


def of_type(published: Unit, device_type: DeviceType) -> Unit:
    functions = tuple(
        dataclasses.replace(f, device_type=device_type)
        for f in published.functions
    )
    return dataclasses.replace(published, functions=functions)


def record(
    published: Unit,
    state: State = State.FREE,
    consumer: str | None = None,
    *,
    reason: str = "",
    is_missing: bool = False,
) -> UnitRecord:
    return UnitRecord(published, state, consumer, 7, is_missing, reason)


def host(name: str, *aggregates: str, cordoned: str = "") -> HostRecord:
    return HostRecord(name, 1, bool(cordoned), cordoned, frozenset(aggregates))


def custom(names: str) -> frozenset[str]:
    return frozenset(f"CUSTOM_{name}" for name in names.split())


def alias(
    name: str,
    product_id: int | None = GPU,
    policy: NumaPolicy = NumaPolicy.PREFERRED,
    traits: str = "",
) -> Alias:
    spec = Spec(NVIDIA, product_id, DeviceType.PCI, None, custom(traits))
    return Alias(name, policy, (spec,))


# An alias of each policy; "any" overlaps with all of them.
ALIASES = {
    entry.name: entry
    for entry in (
        alias("gpu"),
        alias("nic", NIC),
        alias("any", None),
        alias("required", GPU, NumaPolicy.REQUIRED),
        alias("required-nic", NIC, NumaPolicy.REQUIRED),
        alias("legacy", GPU, NumaPolicy.LEGACY),
        alias("socket", GPU, NumaPolicy.SOCKET),
        alias("gold", GPU, traits="GOLD"),
        alias("sound", AUDIO),
    )
}


def request(
    text: str, *nodes: int, same_switch: bool = False, without: str = ""
) -> Request:
    """A request; tied to the instance's NUMA nodes if there are any.

    :param without: traits that no unit may have.
    """
    return dataclasses.replace(
        requests.parse(text, ALIASES, frozenset(nodes) if nodes else None),
        same_switch=same_switch,
        forbidden_traits=custom(without),
    )


def free(units: Iterable[Unit]) -> list[FreeUnit]:
    return [FreeUnit(published, 1) for published in units]


def buses(
    wish: Request,
    units: Iterable[Unit],
    taken: Iterable[Unit] = (),
    *,
    limit: int = 10,
) -> list[tuple[int, ...]]:
    """The buses of each candidate's units, best candidate first."""
    return [
        tuple(entry.unit.key.address.bus for entry in candidate.units)
        for candidate in choice.candidates(
            wish, free(units), taken, limit=limit
        )
    ]

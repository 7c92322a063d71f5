"""Groups, units and ledgers of the hook's decision, in few words."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from gpu_passthrough_plugin.compute.hook import decision
from gpu_passthrough_plugin.compute.hook.decision import Rules
from gpu_passthrough_plugin.compute.hook.unit_states import (
    Decision,
    Guest,
    LedgerView,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.function import Detail, Function, Header
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST, HookMode
from gpu_passthrough_plugin.model.reading import MISSING
from gpu_passthrough_plugin.model.unit import (
    DeviceType,
    State,
    Unit,
    UnitFunction,
    UnitKey,
    UnitRecord,
)

HOST = "h"
ME = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU, AUDIO, PORT = "0000:06:00.0", "0000:06:00.1", "0000:00:02.0"
SECOND = "0000:07:00.0"
VF = "0000:05:00.1"
IDS = {
    GPU: (0x10DE, 0x1430),
    AUDIO: (0x10DE, 0x0FBA),
    SECOND: (0x10DE, 0x1430),
}
ANY = (0x8086, 0x154C)
ROLES = {GPU: Role.PRIMARY, SECOND: Role.PRIMARY, PORT: Role.BRIDGE}

# ``Any``: keywords of a tuple's ``_replace``.
Fields = Any
Groups = Mapping[int, tuple[Member, ...]]


def member(place: str, driver: str | None = "vfio-pci") -> Member:
    """A function that answers, on a driver."""
    vendor, product = IDS.get(place, ANY)
    function = Function(
        address.parse(place),
        vendor,
        product,
        0,
        0,
        0x030000,
        driver,
        18,
        None,
        "",
        place == PORT,
    )
    detail = Detail(
        revision=0,
        header=Header.BRIDGE if place == PORT else Header.ENDPOINT,
        modules=(),
        driver_override=None,
        reset_methods=MISSING,
        boot_vga=None,
        bars=(),
        sriov=None,
        bridges=(),
        is_on_vfio=driver is not None and "vfio" in driver,
    )
    return Member(function, ROLES.get(place, Role.COMPANION), detail)


def group(*places: str, drivers: str = "vfio-pci") -> tuple[Member, ...]:
    """Members; ``drivers`` are each one's, or one for all of them."""
    each = drivers.split() * (1 if " " in drivers else len(places))
    return tuple(
        member(place, None if driver == "none" else driver)
        for place, driver in zip(places, each, strict=True)
    )


def record(
    state: State = State.FREE,
    consumer: str | None = None,
    places: Collection[str] = (GPU, AUDIO),
    companions: Collection[str] = (AUDIO,),
) -> UnitRecord:
    """A unit, whose primaries are all but its companions."""
    functions = tuple(
        UnitFunction(
            address.parse(place),
            *IDS.get(place, ANY),
            0x030000,
            DeviceType.PCI,
            is_primary=place not in companions,
        )
        for place in places
    )
    key = UnitKey(HOST, functions[0].address)
    unit = Unit(key, 18, functions, None, None, None)
    return UnitRecord(unit, state, consumer, 1, False, "fan is loud")


def ledger(
    *records: UnitRecord,
    request: str = HOOK_REQUEST,
    cordon_reason: str | None = None,
) -> LedgerView:
    """Units of this host, and what ME holds of them."""
    own = tuple(r for r in records if r.consumer == ME)
    held = Allocation(ME, HOST, request, own) if own else None
    return LedgerView(records, cordon_reason, held)


def guest(*places: str, is_managed: bool = True) -> Guest:
    functions: dict[Address, bool] = {}
    for place in places:
        functions[address.parse(place)] = is_managed
    return Guest(ME, functions)


CARD = group(GPU, AUDIO, PORT, drivers="vfio-pci vfio-pci pcieport")


def decide(
    taker: Guest,
    book: LedgerView,
    groups: Groups | tuple[Member, ...] = CARD,
    *,
    mode: HookMode = HookMode.ANY,
    excluded: str = "",
    is_in_journal: bool = False,
    is_running: bool = False,
    unspared: Mapping[str, str] = {},
) -> Decision:
    """What is decided; a group alone has the number 18."""
    return decision.decide(
        dataclasses.replace(
            taker, is_in_journal=is_in_journal, is_running=is_running
        ),
        {18: groups} if isinstance(groups, tuple) else groups,
        book,
        Rules(
            mode,
            lambda function: str(function.address) == excluded,
            lambda driver: "vfio" in driver,
        ),
        {address.parse(place): why for place, why in unspared.items()},
    )


def keys(records: tuple[UnitRecord, ...]) -> list[str]:
    """Addresses of units."""
    return [str(r.unit.key.address) for r in records]


def takes(made: Decision) -> list[str]:
    """What a decision that gives units claims."""
    assert not (made.refusals or made.waits_for or made.changes_nothing)
    return keys(made.takes)


def refusal(made: Decision) -> str:
    """Why a decision gives none."""
    assert made.changes_nothing
    assert not (made.takes or made.moves or made.waits_for)
    assert made.refusals
    return "; ".join(made.refusals)


def vgpu(**fields: Fields) -> Member:
    """A virtual function of NVIDIA's, on the driver that makes its vGPU."""
    made = member(VF, "nvidia")
    assert made.detail is not None
    return made._replace(detail=made.detail._replace(**fields))

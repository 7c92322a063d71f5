from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import slots
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


CARD = unit("06:00.0*", "06:00.1")


def places(
    units: Sequence[Unit],
    *,
    is_pcie: bool = True,
    buses: Collection[int] = (0,),
    taken: Collection[int] = (),
) -> list[tuple[int, int, list[str]]]:
    found = slots.places(units, is_pcie=is_pcie, buses=buses, slots=taken)
    return [(p.bus, p.slot, [str(a)[5:] for a in p.functions]) for p in found]


def test_one_card_is_on_one_slot() -> None:
    assert places([CARD]) == [(1, 0, ["06:00.0", "06:00.1"])]


def test_the_primary_is_function_0() -> None:
    second = unit("06:00.0", "06:00.1*", "06:00.2*", "06:00.3")
    assert places([second]) == [
        (1, 0, ["06:00.1", "06:00.2", "06:00.0", "06:00.3"])
    ]


def test_two_cards_of_a_group_are_on_two_slots() -> None:
    shared = unit("06:01.0*", "06:01.1", "06:02.0*", "06:02.1")
    assert places([shared, CARD]) == [
        (1, 0, ["06:01.0", "06:01.1"]),
        (2, 0, ["06:02.0", "06:02.1"]),
        (3, 0, ["06:00.0", "06:00.1"]),
    ]


def test_cards_of_other_domains_and_buses_are_other_cards() -> None:
    far = unit("0000:06:00.0*", "0001:06:00.0", "0000:07:00.0")
    assert [bus for bus, _, _ in places([far])] == [1, 2, 3]


def test_root_ports_are_numbered_above_every_bus_in_use() -> None:
    assert places([CARD], buses={0, 1, 2, 7})[0][0] == 8
    assert places([CARD], buses=())[0][0] == 1


def test_the_last_bus_is_255() -> None:
    assert places([CARD], buses={254})[0][0] == 255
    for used in (255, 10**9):
        with pytest.raises(errors.Refused, match="0 PCI buses free for 1"):
            places([CARD], buses={used})


def test_slots_are_filled_from_the_top() -> None:
    found = places([CARD, CARD], is_pcie=False, taken={0x1F, 0x1D})
    assert [(bus, slot) for bus, slot, _ in found] == [(0, 0x1E), (0, 0x1C)]


def test_the_boards_own_slots_are_left_alone() -> None:
    all_but = set(range(3, 0x20)) - {3}
    assert places([CARD], is_pcie=False, taken=all_but)[0][1] == 3
    with pytest.raises(errors.Refused) as caught:
        places([CARD], is_pcie=False, taken=set(range(3, 0x20)))
    assert str(caught.value) == (
        "the guest has 0 PCI slots free for 1 cards; ask for fewer, or give"
        " it machine='q35'"
    )


def test_no_units_take_no_place() -> None:
    assert places([]) == []
    assert places([], is_pcie=False) == []

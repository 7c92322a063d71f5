"""Cards of public reports: what belongs together, and what does not."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.isolation import cards, partition
from gpu_passthrough_plugin.isolation.partition import Part
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import GPUS, detail, function

# Slots as ``lspci -nn`` shows them: function, class, ids; and the functions
# that are the card of function 0.
SLOTS = {
    # realtek-verb-tools#8: Ryzen 5000U; the processor's own functions.
    "cezanne": (
        ("0", 0x0300, "1002:1638"),
        ("1", 0x0403, "1002:1637"),
        ("2", 0x1080, "1022:15df"),
        ("3", 0x0C03, "1022:1639"),
        ("4", 0x0C03, "1022:1639"),
        ("5", 0x0480, "1022:15e2"),
        ("6", 0x0403, "1022:15e3"),
        "01",
    ),
    # vfio-single-amdgpu-passthrough#3: the network hangs on .3.
    "raven": (
        ("0", 0x0300, "1002:15d8"),
        ("1", 0x0403, "1002:15de"),
        ("2", 0x1080, "1022:15df"),
        ("3", 0x0C03, "1022:15e0"),
        ("6", 0x0403, "1022:15e3"),
        "01",
    ),
    # vm-curator#75.
    "rembrandt": (
        ("0", 0x0300, "1002:1681"),
        ("1", 0x0403, "1002:1640"),
        ("2", 0x1080, "1022:1649"),
        "01",
    ),
    # sGPUpt#16: a card with USB for a headset.
    "rtx 2070": (
        ("0", 0x0300, "10de:1e84"),
        ("1", 0x0403, "10de:10f8"),
        ("2", 0x0C03, "10de:1ad8"),
        ("3", 0x0C80, "10de:1ad9"),
        "0123",
    ),
    # The same of another vendor.
    "navi 21": (
        ("0", 0x0300, "1002:73bf"),
        ("1", 0x0403, "1002:ab28"),
        ("2", 0x0C03, "1002:73a6"),
        ("3", 0x0C80, "1002:73a4"),
        "0123",
    ),
    # An emulated one: the audio function is another vendor's.
    "emulated": (
        ("0", 0x0300, "1002:5046"),
        ("1", 0x0403, "8086:2668"),
        "01",
    ),
}


def slot(
    rows: tuple[tuple[str, int, str] | str, ...],
) -> list[Function]:
    return [
        function(f"04:00.{row[0]}", row[2], row[1] << 8)
        for row in rows
        if not isinstance(row, str)
    ]


@pytest.mark.parametrize("name", SLOTS)
def test_a_card_is_not_always_the_slot(name: str) -> None:
    *_, expected = SLOTS[name]
    found = cards.in_slots(slot(SLOTS[name]))
    first = address.parse("04:00.0")
    card = [str(a.function) for a, key in found.items() if key == first]
    assert "".join(card) == expected


def test_functions_of_the_processor_are_each_on_their_own() -> None:
    found = cards.in_slots(slot(SLOTS["cezanne"]))
    assert len(set(found.values())) == 6


def test_audio_of_unknown_vendor_is_its_displays() -> None:
    lost = Unknown(Why.UNREADABLE, "Permission denied")
    display, audio = slot(SLOTS["rtx 2070"])[:2]
    found = cards.in_slots([display, audio._replace(vendor_id=lost)])
    assert len(set(found.values())) == 1
    found = cards.in_slots(
        [display, audio._replace(vendor_id=lost, class_code=lost)]
    )
    assert len(set(found.values())) == 2


# linux-pci 20230705220135.GA75408@bhelgaas, raspberry-pi-pcie-devices#510:
# Intel's Arc, display and audio behind two ports of its switch.
ROOT, UPSTREAM, PORTS = "00:03.1", "2b:00.0", ("2c:01.0", "2c:04.0")
PATHS = {
    "2d:00.0": (ROOT, UPSTREAM, PORTS[0]),
    "2e:00.0": (ROOT, UPSTREAM, PORTS[1]),
}


def arc(root: str = "1022:1483", switch: str = "8086:4fa0") -> list[Function]:
    return [
        function(ROOT, root, 0x060400, iommu_group=29),
        function(UPSTREAM, switch, 0x060400, iommu_group=30),
        *(function(p, switch, 0x060400, iommu_group=30) for p in PORTS),
        function("2d:00.0", "8086:56a0", 0x030000, iommu_group=31),
        function("2e:00.0", "8086:4f90", 0x040300, iommu_group=32),
    ]


def paths(of: Function) -> list[Address]:
    return [address.parse(p) for p in PATHS.get(str(of.address)[5:], ())]


def parts(functions: list[Function]) -> dict[int | None, Part]:
    listed = [
        partition.detailed(
            part,
            {
                m.address: detail(m.function, bridges=tuple(paths(m.function)))
                for m in part.members
            },
        )
        for part in partition.parts(functions, GPUS)
    ]
    bridges = {f.address: paths(f) for f in functions}
    switches = partition.own_switches(listed)
    found = partition.with_neighbours(
        partition.with_own_switches(listed, switches, bridges)
    )
    return {part.number: part for part in found}


@pytest.mark.parametrize("root", ["1022:1483", "8086:0e04"])
def test_a_card_with_a_switch_of_its_own(root: str) -> None:
    found = parts(arc(root))
    (display,), (audio,) = found[31].members, found[32].members
    assert display.card == audio.card == address.parse(UPSTREAM)
    assert found[31].card_elsewhere == (audio.function,)
    assert not found[32].card_elsewhere


def test_a_switch_of_the_board_makes_no_card() -> None:
    found = parts(arc(switch="10b5:8747"))
    (display,), (audio,) = found[31].members, found[32].members
    assert display.card == display.address
    assert audio.card == audio.address
    assert not found[31].card_elsewhere


def test_a_root_port_of_the_cards_vendor_is_no_switch() -> None:
    known = {f.address: f for f in arc("8086:0e04")}
    display = known[address.parse("2d:00.0")]
    below_root = [address.parse(ROOT)]
    assert cards.own_switch(display, below_root, known) is None
    two = [*below_root, address.parse(UPSTREAM)]
    assert cards.own_switch(display, two, known) is None
    unread = display._replace(vendor_id=Unknown(Why.MALFORMED, "x"))
    assert cards.own_switch(unread, paths(display), known) is None
    assert cards.own_switch(display, paths(display), {}) is None

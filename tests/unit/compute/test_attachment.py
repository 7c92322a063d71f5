from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.attachment import (
    GuestSlot,
    attached,
    detached,
    places,
)
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.unit import Unit
from tests.unit.compute.build import unit

UNIT = unit("06:00.0*", "06:00.1")
UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
CARD = (GPU, AUDIO)


def text(document: str, *places: GuestSlot) -> str:
    return attached(domain_xml.parse(document.encode(), "guest.xml"), places)


def functions(document: str) -> tuple[address.Address, ...]:
    return domain_xml.parse(
        document.encode(), "a.xml"
    ).host_functions.addresses


DOCUMENT = f"""<!-- before --><domain \
xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0" type="kvm">
  <!-- a comment -->
    <name>guest</name>
  <uuid>{UUID}</uuid>
  <metadata><my:own xmlns:my="urn:my">text &lt; &amp; tail</my:own></metadata>
  <devices>
    <emulator>/usr/bin/qemu</emulator>

    <disk><source file="/x"/></disk><!-- end of line -->
  </devices>
  <unknown  a="1"/>
  <qemu:commandline><qemu:arg value="-d"/></qemu:commandline>
</domain>"""

ADDED = """
    <controller type="pci" index="3" model="pcie-root-port"/>
    <hostdev mode="subsystem" type="pci" managed="no">
      <driver name="vfio"/>
      <source>
        <address domain="0x0000" bus="0x06" slot="0x00" function="0x0"/>
      </source>
      <address type="pci" domain="0x0000" bus="0x03" slot="0x00" \
function="0x0" multifunction="on"/>
    </hostdev>
    <hostdev mode="subsystem" type="pci" managed="no">
      <driver name="vfio"/>
      <source>
        <address domain="0x0000" bus="0x06" slot="0x00" function="0x1"/>
      </source>
      <address type="pci" domain="0x0000" bus="0x03" slot="0x00" \
function="0x1"/>
    </hostdev>"""


def test_what_is_added_is_all_that_changes() -> None:
    whole = text(DOCUMENT, GuestSlot(3, 0, CARD))
    last = "<!-- end of line -->"
    wanted = DOCUMENT.replace(last, last + ADDED)
    assert whole == wanted.replace('<unknown  a="1"/>', '<unknown a="1"/>')


def test_what_was_added_is_all_that_is_removed() -> None:
    """Also where an operator's device took one of the ports meanwhile."""
    second = unit("07:00.0*")
    places = (GuestSlot(3, 0, CARD), GuestSlot(4, 0, (second.key.address,)))
    plain = DOCUMENT.replace('<unknown  a="1"/>', '<unknown a="1"/>')
    whole = domain_xml.parse(text(DOCUMENT, *places).encode(), "a.xml")
    gone = (*CARD, second.key.address)
    assert detached(whole, gone, (3, 4)) == plain
    half = detached(whole, CARD, (3, 4))
    assert half == text(DOCUMENT, places[1])
    taken = half.replace(
        "  <unknown", '  <x><address type="pci" bus="3"/></x>\n  <unknown'
    )
    moved = half.replace(
        "</devices>", '<sound><address type="pci" bus="3"/></sound></devices>'
    )
    for document in (taken, moved):
        parsed = domain_xml.parse(document.encode(), "a.xml")
        left = detached(parsed, gone, (3, 4))
        assert functions(left) == ()
        assert 'index="4"' not in left


def test_functions_that_libvirt_binds() -> None:
    parsed = domain_xml.parse(DOCUMENT.encode(), "a.xml")
    whole = attached(parsed, (GuestSlot(3, 0, CARD),), (GPU,))
    taken = domain_xml.parse(whole.encode(), "a.xml").host_functions
    assert [f.is_managed for f in taken.functions] == [True, False]


def test_no_root_port_on_a_machine_without_pci_express() -> None:
    whole = text(DOCUMENT, GuestSlot(0, 0x1F, (GPU,)))
    assert "pcie-root-port" not in whole
    assert (
        '<address type="pci" domain="0x0000" bus="0x00" slot="0x1f"'
        ' function="0x0"/>'
    ) in whole
    assert "multifunction" not in whole


def test_a_domain_above_16_bits() -> None:
    whole = text(DOCUMENT, GuestSlot(1, 0, (address.parse("10000:01:00.0"),)))
    assert '<address domain="0x10000" bus="0x01"' in whole


@pytest.mark.parametrize("there", ["", "<uuid/>", "<uuid> </uuid>"])
def test_libvirt_is_told_the_uuid_that_the_ledger_has(there: str) -> None:
    parsed = domain_xml.parse(
        f"<domain><name>a</name>{there}<devices/></domain>".encode(), "a.xml"
    )
    again = domain_xml.parse(attached(parsed, ()).encode(), "a.xml")
    assert again.uuid == parsed.uuid


def test_a_uuid_is_put_after_the_name() -> None:
    parsed = domain_xml.parse(
        b"<domain>\n  <name>a</name>\n  <os/>\n</domain>", "a.xml"
    )
    assert attached(parsed, ()) == (
        f"<domain>\n  <name>a</name>\n  <uuid>{parsed.uuid}</uuid>\n  <os/>"
        "\n  <devices/>\n</domain>"
    )


def test_devices_are_made_where_there_are_none() -> None:
    for document in (
        f"<domain><name>a</name><uuid>{UUID}</uuid></domain>",
        f"<domain><name>a</name><uuid>{UUID}</uuid><devices/></domain>",
    ):
        whole = text(document, GuestSlot(1, 0, CARD))
        assert functions(whole) == CARD
        assert whole.endswith("</devices>\n</domain>") or whole.endswith(
            "</devices></domain>"
        )


def test_a_hostdev_of_the_operators_own_stays() -> None:
    own = (
        '<hostdev mode="subsystem" type="pci" managed="yes"><source>'
        '<address bus="0x07" slot="0x00"/></source></hostdev>'
    )
    document = (
        f"<domain><name>a</name><uuid>{UUID}</uuid><devices>{own}</devices>"
        "</domain>"
    )
    whole = text(document, GuestSlot(1, 0, CARD))
    assert own in whole
    assert functions(whole) == (
        address.parse("07:00.0"),
        *CARD,
    )


def slots_of(
    units: Sequence[Unit],
    *,
    is_pcie: bool = True,
    buses: Collection[int] = (0,),
    taken: Collection[int] = (),
) -> list[tuple[int, int, list[str]]]:
    found = places(units, is_pcie=is_pcie, buses=buses, slots=taken)
    return [(p.bus, p.slot, [str(a)[5:] for a in p.functions]) for p in found]


def test_one_card_is_on_one_slot() -> None:
    assert slots_of([UNIT]) == [(1, 0, ["06:00.0", "06:00.1"])]


def test_the_primary_is_function_0() -> None:
    second = unit("06:00.0", "06:00.1*", "06:00.2*", "06:00.3")
    assert slots_of([second]) == [
        (1, 0, ["06:00.1", "06:00.2", "06:00.0", "06:00.3"])
    ]


def test_two_cards_of_a_group_are_on_two_slots() -> None:
    shared = unit("06:01.0*", "06:01.1", "06:02.0*", "06:02.1")
    assert slots_of([shared, UNIT]) == [
        (1, 0, ["06:01.0", "06:01.1"]),
        (2, 0, ["06:02.0", "06:02.1"]),
        (3, 0, ["06:00.0", "06:00.1"]),
    ]


def test_cards_of_other_domains_and_buses_are_other_cards() -> None:
    far = unit("0000:06:00.0*", "0001:06:00.0", "0000:07:00.0")
    assert [bus for bus, _, _ in slots_of([far])] == [1, 2, 3]


def test_root_ports_are_numbered_above_every_bus_in_use() -> None:
    assert slots_of([UNIT], buses={0, 1, 2, 7})[0][0] == 8
    assert slots_of([UNIT], buses=())[0][0] == 1


def test_the_last_bus_is_255() -> None:
    assert slots_of([UNIT], buses={254})[0][0] == 255
    for used in (255, 10**9):
        with pytest.raises(errors.Refused, match="0 free PCI buses"):
            slots_of([UNIT], buses={used})


def test_slots_are_filled_from_the_top() -> None:
    found = slots_of([UNIT, UNIT], is_pcie=False, taken={0x1F, 0x1D})
    assert [(bus, slot) for bus, slot, _ in found] == [(0, 0x1E), (0, 0x1C)]


def test_the_boards_own_slots_are_left_alone() -> None:
    all_but = set(range(3, 0x20)) - {3}
    assert slots_of([UNIT], is_pcie=False, taken=all_but)[0][1] == 3
    with pytest.raises(errors.Refused) as caught:
        slots_of([UNIT], is_pcie=False, taken=set(range(3, 0x20)))
    assert "0 free PCI slots" in str(caught.value)
    assert "q35" in str(caught.value)


def test_no_units_take_no_place() -> None:
    assert slots_of([]) == []
    assert slots_of([], is_pcie=False) == []

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.compute.attachment import attached
from gpu_passthrough_plugin.compute.slots import GuestSlot
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model import address

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU = address.parse("06:00.0")
AUDIO = address.parse("06:00.1")
CARD = (GPU, AUDIO)


def text(document: str, *places: GuestSlot) -> str:
    return attached(domain_xml.parse(document.encode(), "guest.xml"), places)


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
        assert domain_xml.hostdevs(whole.encode(), "a.xml") == CARD
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
    assert domain_xml.hostdevs(whole.encode(), "a.xml") == (
        address.parse("07:00.0"),
        *CARD,
    )

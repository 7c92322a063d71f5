"""What is added to an operator's domain XML: a guest's part of the units."""

from __future__ import annotations

from lxml import etree

from gpu_passthrough_plugin.compute.slots import GuestSlot
from gpu_passthrough_plugin.formats.domain_xml import Domain, tree
from gpu_passthrough_plugin.model.address import Address

_INDENT = "  "


def attached(domain: Domain, places: tuple[GuestSlot, ...]) -> str:
    """The domain's XML with a ``<hostdev>`` for every function placed.

    Everything else stays as it was, down to the blanks; the UUID is added
    where the document had none.

    Source: libvirt, formatdomain.html (PCI host device assignment).
    """
    document = tree(domain.text, domain.name)
    root = document.getroot()
    _set_uuid(root, domain.uuid)
    devices = root.find("devices")
    if devices is None:
        devices = etree.Element("devices")
        _insert(root, len(root), devices, level=1)
    for place in places:
        if place.bus:
            _insert(devices, len(devices), _root_port(place.bus), level=2)
        for number, function in enumerate(place.functions):
            hostdev = _hostdev(place, number, function)
            _insert(devices, len(devices), hostdev, level=2)
    return etree.tostring(document, encoding="unicode")


def _set_uuid(root: etree._Element, uuid: str) -> None:
    """libvirt makes one up where it finds none, or an empty one."""
    there = root.find("uuid")
    if there is not None:
        if not (there.text or "").strip():
            there.text = uuid
        return
    element = etree.Element("uuid")
    element.text = uuid
    name = root.find("name")
    at = 0 if name is None else root.index(name) + 1
    _insert(root, at, element, level=1)


def _insert(
    parent: etree._Element, at: int, element: etree._Element, level: int
) -> None:
    """Put a child on a line of its own; no blank that was there changes."""
    etree.indent(element, space=_INDENT, level=level)
    line = "\n" + level * _INDENT
    if at:
        before = parent[at - 1]
        element.tail, before.tail = before.tail, line
    else:
        element.tail, parent.text = parent.text, line
    if at == len(parent) and not element.tail:
        element.tail = "\n" + (level - 1) * _INDENT
    parent.insert(at, element)


def _root_port(index: int) -> etree._Element:
    return etree.Element(
        "controller",
        {"type": "pci", "index": str(index), "model": "pcie-root-port"},
    )


def _hostdev(
    place: GuestSlot, number: int, function: Address
) -> etree._Element:
    # managed='no': the functions were bound to vfio-pci by address before,
    # and go back to their drivers when the unit is released, not when the
    # guest happens to stop.
    hostdev = etree.Element(
        "hostdev", {"mode": "subsystem", "type": "pci", "managed": "no"}
    )
    etree.SubElement(hostdev, "driver", {"name": "vfio"})
    source = etree.SubElement(hostdev, "source")
    etree.SubElement(source, "address", _pci(*function))
    guest = {"type": "pci", **_pci(0, place.bus, place.slot, number)}
    if number == 0 and len(place.functions) > 1:
        guest["multifunction"] = "on"
    etree.SubElement(hostdev, "address", guest)
    return hostdev


def _pci(domain: int, bus: int, slot: int, function: int) -> dict[str, str]:
    return {
        "domain": f"0x{domain:04x}",
        "bus": f"0x{bus:02x}",
        "slot": f"0x{slot:02x}",
        "function": f"0x{function:x}",
    }

"""On which guest PCI slot each card of a unit goes, and the XML for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.domain_xml import (
    Domain,
    tree,
    unused_ports,
)
from gpu_passthrough_plugin.formats.host_devices import pci_hostdevs
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import Unit, UnitFunction

_INDENT = "  "
# On i440fx the host bridge and its southbridge hold slots 0 and 1, and
# libvirt puts the primary display on 2.  Source: libvirt, pci-addresses.rst.
_FIRST_SLOT = 3
_LAST_SLOT = 0x1F
_LAST_BUS = 0xFF


@dataclasses.dataclass(frozen=True, slots=True)
class GuestSlot:
    """A slot of the guest, with the host's functions on it.

    :param bus: of the guest: 0 on a machine without PCI Express, else the
        bus of a root port that is added for this slot.
    :param functions: in the order of the guest's function numbers.
    """

    bus: int
    slot: int
    functions: tuple[Address, ...]


def places(
    units: Sequence[Unit],
    *,
    is_pcie: bool,
    buses: Collection[int],
    slots: Collection[int],
) -> tuple[GuestSlot, ...]:
    """Return a free slot for every card of the units, in their order.

    :param buses: guest buses that are in use.
    :param slots: slots of guest bus 0 that are in use.
    :raises Refused: when the guest has too few free slots.
    """
    cards = [card for unit in units for card in _cards(unit)]
    if is_pcie:
        first = max(buses, default=0) + 1
        if first + len(cards) - 1 > _LAST_BUS:
            raise errors.Refused(
                f"the guest has {max(_LAST_BUS + 1 - first, 0)} free PCI"
                f" buses for {len(cards)} cards; request fewer, or number its"
                " controllers from 1"
            )
        return tuple(
            GuestSlot(first + number, 0, card)
            for number, card in enumerate(cards)
        )
    free = [s for s in range(_FIRST_SLOT, _LAST_SLOT + 1) if s not in slots]
    if len(free) < len(cards):
        raise errors.Refused(
            f"the guest has {len(free)} free PCI slots for {len(cards)}"
            " cards; request fewer, or set machine='q35'"
        )
    # From the top: libvirt assigns other devices' slots from the bottom.
    return tuple(
        GuestSlot(0, slot, card)
        for slot, card in zip(reversed(free), cards, strict=False)
    )


def _cards(unit: Unit) -> list[tuple[Address, ...]]:
    cards: dict[tuple[int, int, int], list[UnitFunction]] = {}
    for function in unit.functions:
        cards.setdefault(function.address.slot_address, []).append(function)
    return [
        tuple(
            f.address
            for f in sorted(card, key=lambda f: (not f.is_primary, f.address))
        )
        for card in cards.values()
    ]


def attached(
    domain: Domain,
    places: tuple[GuestSlot, ...],
    managed: Collection[Address] = (),
) -> str:
    """Return the domain's XML with a ``<hostdev>`` for every function.

    Everything else is unchanged, white space included; a missing UUID is
    added.

    :param managed: functions that libvirt binds to vfio-pci at each start,
        and returns to their drivers when the guest stops.

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
            hostdev = _hostdev(place, number, function, function in managed)
            _insert(devices, len(devices), hostdev, level=2)
    return etree.tostring(document, encoding="unicode")


def detached(
    domain: Domain, functions: Collection[Address], ports: Collection[int]
) -> str:
    """Return the domain's XML as it was before functions were attached.

    Everything else is unchanged, white space included.

    :param ports: indexes of root ports that were added: those that no device
        is on then are removed as well.
    """
    document = tree(domain.text, domain.name)
    root = document.getroot()
    for hostdev, address in pci_hostdevs(root):
        if address in functions:
            _remove(hostdev)
    for port in unused_ports(root, ports):
        _remove(port)
    return etree.tostring(document, encoding="unicode")


def hostdev_xml(function: Address) -> str:
    """Return the ``<hostdev>`` of a function that is plugged in or out.

    libvirt chooses its place in the guest: it plugs no function but the first
    of a slot.  Source: libvirt, conf/domain_addr.c
    (virDomainPCIAddressEnsureAddr).
    """
    return etree.tostring(_source(function, False), encoding="unicode")


def _set_uuid(root: etree._Element, uuid: str) -> None:
    """Set the UUID if it is missing or empty: libvirt would invent one."""
    present = root.find("uuid")
    if present is not None:
        if not (present.text or "").strip():
            present.text = uuid
        return
    element = etree.Element("uuid")
    element.text = uuid
    name = root.find("name")
    at = 0 if name is None else root.index(name) + 1
    _insert(root, at, element, level=1)


def _insert(
    parent: etree._Element, at: int, element: etree._Element, level: int
) -> None:
    """Insert a child on a line of its own; keep all other white space."""
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


def _remove(element: etree._Element) -> None:
    """Remove a child with the white space that ``_insert`` gave it."""
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if before is not None:
        before.tail = element.tail
    else:
        parent.text = element.tail
    element.tail = None
    parent.remove(element)


def _root_port(index: int) -> etree._Element:
    return etree.Element(
        "controller",
        {"type": "pci", "index": str(index), "model": "pcie-root-port"},
    )


def _hostdev(
    place: GuestSlot, number: int, function: Address, is_managed: bool
) -> etree._Element:
    # managed='no': the functions are bound to vfio-pci before the start, and
    # to their own drivers when the unit is released, not when the guest
    # stops.
    hostdev = _source(function, is_managed)
    guest = {"type": "pci", **_pci(0, place.bus, place.slot, number)}
    if number == 0 and len(place.functions) > 1:
        guest["multifunction"] = "on"
    etree.SubElement(hostdev, "address", guest)
    return hostdev


def _source(function: Address, is_managed: bool) -> etree._Element:
    hostdev = etree.Element(
        "hostdev",
        {
            "mode": "subsystem",
            "type": "pci",
            "managed": "yes" if is_managed else "no",
        },
    )
    etree.SubElement(hostdev, "driver", {"name": "vfio"})
    source = etree.SubElement(hostdev, "source")
    etree.SubElement(source, "address", _pci(*function))
    return hostdev


def _pci(domain: int, bus: int, slot: int, function: int) -> dict[str, str]:
    return {
        "domain": f"0x{domain:04x}",
        "bus": f"0x{bus:02x}",
        "slot": f"0x{slot:02x}",
        "function": f"0x{function:x}",
    }

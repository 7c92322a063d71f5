"""Where a guest finds each card of its units, and the XML that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.domain_xml import Domain, tree
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
    """A slot of the guest and the host's functions on it.

    :param bus: of the guest; 0 on a machine without PCI Express, and
        otherwise the number of a root port of its own.
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
    """A slot for every card of the units, in the order of the units.

    :param buses: guest buses that are taken.
    :param slots: slots of guest bus 0 that are taken.
    :raises Refused: when the guest has no slot left.
    """
    cards = [card for unit in units for card in _cards(unit)]
    if is_pcie:
        first = max(buses, default=0) + 1
        if first + len(cards) - 1 > _LAST_BUS:
            raise errors.Refused(
                f"the guest has {max(_LAST_BUS + 1 - first, 0)} PCI buses"
                f" free for {len(cards)} cards; ask for fewer, or number its"
                " controllers from 1"
            )
        return tuple(
            GuestSlot(first + number, 0, card)
            for number, card in enumerate(cards)
        )
    free = [s for s in range(_FIRST_SLOT, _LAST_SLOT + 1) if s not in slots]
    if len(free) < len(cards):
        raise errors.Refused(
            f"the guest has {len(free)} PCI slots free for {len(cards)}"
            " cards; ask for fewer, or give it machine='q35'"
        )
    # From the top: libvirt fills the guest's other devices in from below.
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

"""An operator's domain XML, parsed once, and what is added to it."""

from __future__ import annotations

import dataclasses
import re
import uuid as uuids

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.slots import GuestSlot
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address

_ADDRESS_PARTS = ("domain", "bus", "slot", "function")


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """A libvirt domain before anything is attached to it.

    :param uuid: the document's own, or a new one where it has none.
    :param hostdevs: PCI functions that it already names.
    :param numa_nodes: host nodes its memory is tied to, or None.
    :param is_pcie: whether its machine has PCI Express slots (q35, virt).
    :param buses: numbers of guest PCI buses that it uses.
    :param slots: slots of guest bus 0 that it uses.
    """

    text: bytes
    uuid: str
    name: str
    hostdevs: tuple[Address, ...]
    numa_nodes: frozenset[int] | None
    is_pcie: bool
    buses: frozenset[int]
    slots: frozenset[int]


def parse(text: bytes, source: str) -> Domain:
    """The domain that ``text`` describes.

    :param source: the document's name, for messages.
    :raises Invalid: when it is no domain XML.
    """
    root = _root(text, source)
    if root.tag != "domain":
        raise errors.Invalid(
            f"{source}: found <{root.tag}>; wanted libvirt's <domain>"
        )
    name = (root.findtext("name") or "").strip()
    if not name:
        raise errors.Invalid(f"{source}: <domain> has no <name>; add one")
    buses, slots = _guest_places(root)
    return Domain(
        text=text,
        uuid=_uuid(root, source),
        name=name,
        hostdevs=_hostdevs(root, source),
        numa_nodes=_numa_nodes(root, source),
        is_pcie=_is_pcie(root),
        buses=buses,
        slots=slots,
    )


def hostdevs(text: bytes, source: str) -> tuple[Address, ...]:
    """The PCI functions of the host that a domain's XML hands over."""
    return _hostdevs(_root(text, source), source)


def attached(domain: Domain, places: tuple[GuestSlot, ...]) -> str:
    """The domain's XML with a ``<hostdev>`` for every function placed.

    Everything else stays as it was; the UUID is added where the document
    had none.

    Source: libvirt, formatdomain.html (PCI host device assignment).
    """
    root = _root(domain.text, domain.name)
    if root.find("uuid") is None:
        _insert_uuid(root, domain.uuid)
    devices = root.find("devices")
    if devices is None:
        devices = etree.SubElement(root, "devices")
    for place in places:
        if place.bus:
            devices.append(_root_port(place.bus))
        for number, function in enumerate(place.functions):
            devices.append(_hostdev(place, number, function))
    etree.indent(devices, space="  ", level=1)
    return etree.tostring(root, encoding="unicode")


def _root(text: bytes, source: str) -> etree._Element:
    # No entities, no network, no huge trees: the document is a stranger's.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False
    )
    try:
        return etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise errors.Invalid(
            f"{source}: not XML ({error.msg}); wanted a libvirt domain"
        ) from error


def _uuid(root: etree._Element, source: str) -> str:
    text = (root.findtext("uuid") or "").strip()
    if not text:
        return str(uuids.uuid4())
    try:
        return str(uuids.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"{source}: <uuid> is {text!r}; wanted a UUID or none"
        ) from error


def _insert_uuid(root: etree._Element, uuid: str) -> None:
    element = etree.Element("uuid")
    element.text = uuid
    name = root.find("name")
    at = 0 if name is None else root.index(name) + 1
    if name is not None:
        element.tail, name.tail = name.tail, "\n  "
    root.insert(at, element)


def _hostdevs(root: etree._Element, source: str) -> tuple[Address, ...]:
    return tuple(
        _host_address(element, source)
        for element in root.iterfind(
            "devices/hostdev[@type='pci']/source/address"
        )
    )


def _host_address(element: etree._Element, source: str) -> Address:
    try:
        parts = [int(element.get(p, "0"), 0) for p in _ADDRESS_PARTS]
    except ValueError as error:
        shown = etree.tostring(element, encoding="unicode").strip()
        raise errors.Invalid(
            f"{source}: {shown} is no PCI address of a <hostdev>"
        ) from error
    return address.Address(*parts)


def _is_pcie(root: etree._Element) -> bool:
    kind = root.find("os/type")
    if kind is None:
        return False
    machine, arch = kind.get("machine", ""), kind.get("arch", "x86_64")
    return "q35" in machine or (
        arch in ("aarch64", "riscv64") and not machine.startswith("versatile")
    )


def _guest_places(
    root: etree._Element,
) -> tuple[frozenset[int], frozenset[int]]:
    buses, slots = {0}, set()
    for controller in root.iterfind("devices/controller[@type='pci']"):
        buses.add(_number(controller.get("index", "0")))
    for place in root.iterfind("devices/*/address[@type='pci']"):
        bus = _number(place.get("bus", "0"))
        buses.add(bus)
        if bus == 0:
            slots.add(_number(place.get("slot", "0")))
    return frozenset(buses), frozenset(slots)


def _number(text: str) -> int:
    """libvirt itself complains of what is no number; 0 until it does."""
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _numa_nodes(root: etree._Element, source: str) -> frozenset[int] | None:
    """The nodes of ``<numatune><memory nodeset='0-1,3'/>``."""
    memory = root.find("numatune/memory")
    nodeset = None if memory is None else memory.get("nodeset")
    if not nodeset:
        return None
    nodes: set[int] = set()
    for part in nodeset.split(","):
        match = re.fullmatch(r"\s*(\^?)(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if match is None:
            raise errors.Invalid(
                f"{source}: <numatune> nodeset is {nodeset!r};"
                " wanted such as 0-1,3"
            )
        without, first, last = match.groups()
        named = set(range(int(first), int(last or first) + 1))
        nodes = nodes - named if without else nodes | named
    return frozenset(nodes)


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

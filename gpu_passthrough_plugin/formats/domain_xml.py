"""An operator's domain XML, parsed once."""

from __future__ import annotations

import dataclasses
import re
import uuid as uuids

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address

_ADDRESS_PARTS = ("domain", "bus", "slot", "function")
# Each way in which a document hands a function of the host over.
# Source: libvirt, formatdomain.html (host device assignment; PCI
# passthrough of host network devices; NVMe disks).
_HANDED_OVER = (
    "devices/hostdev[@type='pci']/source/address",
    "devices/interface[@type='hostdev']/source/address[@type='pci']",
    "devices/disk[@type='nvme']/source/address",
)
_HOSTDEV = _HANDED_OVER[:1]


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """A libvirt domain before anything is attached to it.

    :param uuid: the document's own, or a new one where it has none.
    :param hostdevs: PCI functions of the host that it already names, in
        whichever kind of element.
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
    root = tree(text, source).getroot()
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
        hostdevs=_addresses(root, source, _HANDED_OVER),
        numa_nodes=_numa_nodes(root, source),
        is_pcie=_is_pcie(root),
        buses=buses,
        slots=slots,
    )


def hostdevs(text: bytes, source: str) -> tuple[Address, ...]:
    """The PCI functions in the ``<hostdev>`` elements of a domain's XML."""
    return _addresses(tree(text, source).getroot(), source, _HOSTDEV)


def tree(text: bytes, source: str) -> etree._ElementTree:
    """The document, its comments and namespaces kept.

    :raises Invalid: when it is not XML, or declares a document type: a
        domain has none, and entities are only good for attacks.
    """
    # No entities, no network, no huge trees: the document is a stranger's.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False
    )
    try:
        found = etree.fromstring(text, parser).getroottree()
    except etree.XMLSyntaxError as error:
        raise errors.Invalid(
            f"{source}: not XML ({error.msg}); wanted a libvirt domain"
        ) from error
    if found.docinfo.internalDTD is not None:
        raise errors.Invalid(
            f"{source}: found a <!DOCTYPE>; wanted a libvirt domain, which"
            " has none: take it out"
        )
    return found


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


def _addresses(
    root: etree._Element, source: str, paths: tuple[str, ...]
) -> tuple[Address, ...]:
    return tuple(
        _host_address(element, source)
        for path in paths
        for element in root.iterfind(path)
    )


def _host_address(element: etree._Element, source: str) -> Address:
    try:
        parts = [int(element.get(p, "0"), 0) for p in _ADDRESS_PARTS]
        # What is out of bounds would be written down and not read again.
        return address.parse(str(address.Address(*parts)))
    except (ValueError, errors.Invalid) as error:
        shown = etree.tostring(element, encoding="unicode", with_tail=False)
        raise errors.Invalid(
            f"{source}: {shown} is no PCI address of a <hostdev>"
        ) from error


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
    if not nodes:
        raise errors.Invalid(
            f"{source}: <numatune> nodeset {nodeset!r} names no node;"
            " wanted such as 0-1,3"
        )
    return frozenset(nodes)

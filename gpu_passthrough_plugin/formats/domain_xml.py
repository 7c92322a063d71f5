"""A libvirt domain's document: what it is called, has, and takes.

Source: libvirt, formatdomain.html.
"""

from __future__ import annotations

import dataclasses
import re
import uuid as uuids
from collections.abc import Collection
from typing import NamedTuple

from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import host_devices, qemu_arguments
from gpu_passthrough_plugin.formats.host_devices import (
    HostFunctions,
    host_functions,
    number,
)
from gpu_passthrough_plugin.model.address_space import GIB, Firmware

MAX_BYTES = 16 << 20
"""libvirt takes documents of 4 MiB; what it makes of one is longer.

Source: libvirt, src/remote/remote_protocol.x (REMOTE_STRING_MAX).
"""
# An element or an attribute takes up to 200 bytes of memory; a guest with a
# thousand disks has 30,000 of them.
_MAX_MARKUP = 250_000


# libvirt's units of memory.  Source: libvirt, util/virutil.c
# (virScaleInteger).
_UNITS = {
    "": 1 << 10,
    **{name: 1 for name in ("b", "bytes")},
    **{
        name: size
        for power, letter in enumerate("kmgtpe", 1)
        for name, size in (
            (letter, 1 << 10 * power),
            (f"{letter}ib", 1 << 10 * power),
            (f"{letter}b", 1000**power),
        )
    },
}
# Memory from there on goes above 4 GiB, and how much stays below then.
# Source: qemu, hw/i386/pc_q35.c and hw/i386/pc_piix.c (pc_init1).
_Q35_SPLIT, _PC_SPLIT = (0xB0000000, 2 * GIB), (0xE0000000, 3 * GIB)
_MAX_SLOTS = 256


class GuestCpu(NamedTuple):
    """The CPU of a domain, as far as its address bits go.

    :param mode: libvirt's, such as ``host-passthrough``; empty for none.
    :param model: of QEMU; empty where libvirt or QEMU chooses.
    :param is_emulated: whether QEMU runs it without KVM.
    :param address_bits: ``<maxphysaddr>``: a number; ``passthrough`` for the
        host's; None for what QEMU has by default.
    :param most_bits: limit of the host's that are passed through.
    :param features: those that are required or forced.
    """

    mode: str
    model: str
    is_emulated: bool
    address_bits: int | str | None
    most_bits: int | None
    features: frozenset[str]


class Platform(NamedTuple):
    """What of a domain decides where its firmware puts BARs.

    :param firmware: None where it is another one, or cannot be told.
    :param cpu: None where QEMU's own arguments choose it.
    :param memory_end: as ``address_space.Guest`` has it, like the others.
    """

    firmware: Firmware | None
    cpu: GuestCpu | None
    memory_end: int
    mmio64_mib: int | None
    hole64_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """A libvirt domain before anything is attached to it.

    :param uuid: the document's own, or a new one where it has none.
    :param has_own_uuid: whether the document has one.
    :param host_functions: what it takes of the host without a request.
    :param numa_nodes: host nodes its memory is tied to, or None.
    :param is_pcie: whether its machine has PCI Express slots (q35, virt).
    :param buses: numbers of guest PCI buses that it uses.
    :param slots: slots of guest bus 0 that it uses.
    :param platform: what decides where its BARs go.
    """

    text: bytes
    uuid: str
    has_own_uuid: bool
    name: str
    host_functions: HostFunctions
    numa_nodes: frozenset[int] | None
    is_pcie: bool
    buses: frozenset[int]
    slots: frozenset[int]
    platform: Platform


def parse(text: bytes, source: str) -> Domain:
    """Return the domain that a document describes.

    :param source: the document's name, for messages.
    :raises Invalid: when it is not a domain's XML.
    """
    root = tree(text, source).getroot()
    # As libvirt takes it: all text below, whatever stands between.
    name = str(root.xpath("string(name)"))
    if not name.strip():
        raise errors.Invalid(f"{source}: <domain> has no <name>; add one")
    buses, slots = _guest_places(root)
    uuid = guest_uuid(root, source)
    return Domain(
        text=text,
        uuid=uuid or str(uuids.uuid4()),
        has_own_uuid=bool(uuid),
        name=name,
        host_functions=host_functions(root),
        numa_nodes=_numa_nodes(root, source),
        is_pcie=_is_pcie(root),
        buses=buses,
        slots=slots,
        platform=_platform(root),
    )


def tree(text: bytes, source: str) -> etree._ElementTree:
    """Return a domain's document: comments, CDATA and namespaces kept.

    :raises Invalid: when it is not a ``<domain>``, is too large, or
        declares a document type: a domain has none, and entities are only
        good for attacks.
    """
    markup = text.count(b"<") + text.count(b"=")
    if len(text) > MAX_BYTES or markup > _MAX_MARKUP:
        raise errors.Invalid(
            f"{source}: too large for a libvirt domain; expected up to"
            f" {MAX_BYTES >> 20} MiB and {_MAX_MARKUP} tags and attributes"
        )
    # No entities, no network, no huge trees: the document is a stranger's.
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        strip_cdata=False,
    )
    try:
        document = etree.fromstring(text, parser).getroottree()
    except etree.XMLSyntaxError as error:
        # Some of libxml2's messages have a line's end in them.
        reason = " ".join(str(error.msg).split()).replace(" ,", ",")
        raise errors.Invalid(
            f"{source}: not well-formed XML ({reason}); expected a libvirt"
            " domain"
        ) from error
    if document.docinfo.internalDTD is not None:
        raise errors.Invalid(
            f"{source}: has a <!DOCTYPE>, which no libvirt domain has;"
            " remove it"
        )
    tag = document.getroot().tag
    if tag != "domain":
        raise errors.Invalid(
            f"{source}: the document is a <{tag}>; expected a libvirt <domain>"
        )
    return document


def guest_uuid(root: etree._Element, source: str) -> str:
    """Return the domain's UUID in lower case; empty where it has none.

    :raises Invalid: when it is not a UUID.
    """
    text = str(root.xpath("string(uuid)")).strip()
    if not text:
        return ""
    try:
        return str(uuids.UUID(text))
    except ValueError as error:
        raise errors.Invalid(
            f"{source}: <uuid> {text[:40]!r} is not a valid UUID; expected"
            " one such as 5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
        ) from error


def _is_pcie(root: etree._Element) -> bool:
    kind = root.find("os/type")
    if kind is None:
        return False
    machine, arch = kind.get("machine", ""), kind.get("arch", "x86_64")
    return "q35" in machine or (
        arch in ("aarch64", "riscv64") and not machine.startswith("versatile")
    )


def unused_ports(
    root: etree._Element, indexes: Collection[int]
) -> tuple[etree._Element, ...]:
    """Return root ports of these indexes that no device is on.

    Source: libvirt, formatdomain.html (a controller's index is the number of
    the bus that it makes).
    """
    used = {
        _guest_number(place.get("bus", "0"))
        for place in root.iterfind("devices/*/address[@type='pci']")
    }
    return tuple(
        controller
        for controller in root.iterfind("devices/controller[@type='pci']")
        if controller.get("model") == "pcie-root-port"
        and _guest_number(controller.get("index", "0")) in indexes
        and _guest_number(controller.get("index", "0")) not in used
    )


def _guest_places(
    root: etree._Element,
) -> tuple[frozenset[int], frozenset[int]]:
    buses, slots = {0}, set()
    for controller in root.iterfind("devices/controller[@type='pci']"):
        buses.add(_guest_number(controller.get("index", "0")))
    for place in root.iterfind("devices/*/address[@type='pci']"):
        bus = _guest_number(place.get("bus", "0"))
        buses.add(bus)
        if bus == 0:
            slots.add(_guest_number(place.get("slot", "0")))
    return frozenset(buses), frozenset(slots)


def _guest_number(text: str) -> int:
    """Return the number, or 0: libvirt itself refuses other text."""
    return number(text) or 0


def _numa_nodes(root: etree._Element, source: str) -> frozenset[int] | None:
    """Return the nodes of ``<numatune><memory nodeset='0-1,3'/>``."""
    memory = root.find("numatune/memory")
    nodeset = None if memory is None else memory.get("nodeset")
    if not nodeset:
        return None
    nodes: set[int] = set()
    for part in nodeset.split(","):
        match = re.fullmatch(r"\s*(\^?)(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if match is None:
            raise errors.Invalid(
                f"{source}: <numatune> nodeset {nodeset!r} is not a valid set"
                " of nodes; expected one such as 0-1,3"
            )
        without, first, last = match.groups()
        named = set(range(int(first), int(last or first) + 1))
        nodes = nodes - named if without else nodes | named
    if not nodes:
        raise errors.Invalid(
            f"{source}: <numatune> nodeset {nodeset!r} names no node;"
            " expected one such as 0-1,3"
        )
    return frozenset(nodes)


def _platform(root: etree._Element) -> Platform:
    """Source: libvirt, formatdomain.html (CPU model, memory, BIOS)."""
    arguments = host_devices.arguments(root)
    from_qemu = qemu_arguments.bar_arguments(arguments)
    hole = root.find("devices/controller[@type='pci']/pcihole64")
    return Platform(
        firmware=_firmware(root),
        cpu=None if from_qemu.sets_cpu else _cpu(root),
        memory_end=_memory_end(root),
        mmio64_mib=from_qemu.mmio64_mib,
        hole64_bytes=from_qemu.hole64_bytes or _bytes(hole),
    )


def _firmware(root: etree._Element) -> Firmware | None:
    kind, loader = root.find("os/type"), root.find("os/loader")
    arch = "x86_64" if kind is None else kind.get("arch", "x86_64")
    machine = "" if kind is None else kind.get("machine", "")
    if arch != "x86_64" or "microvm" in machine:
        return None
    system = root.find("os")
    if system is not None and system.get("firmware") == "efi":
        return Firmware.OVMF
    if loader is None or not (loader.text or "").strip():
        return Firmware.SEABIOS
    # A flash image is UEFI's; SeaBIOS and others are loaded as a ROM.
    return Firmware.OVMF if loader.get("type") == "pflash" else None


def _cpu(root: etree._Element) -> GuestCpu:
    cpu = root.find("cpu")
    is_emulated = root.get("type") == "qemu"
    if cpu is None:
        return GuestCpu("", "", is_emulated, None, None, frozenset())
    width = cpu.find("maxphysaddr")
    bits: int | str | None = None
    most_bits = None
    if width is not None and width.get("mode") == "passthrough":
        bits = "passthrough"
        most_bits = _guest_number(width.get("limit", "")) or None
    elif width is not None:
        bits = _guest_number(width.get("bits", "")) or None
    features = frozenset(
        feature.get("name", "")
        for feature in cpu.iterfind("feature")
        if feature.get("policy", "require") in ("require", "force")
    )
    model = str(cpu.xpath("string(model)")).strip()
    return GuestCpu(
        cpu.get("mode", "custom"),
        model,
        is_emulated,
        bits,
        most_bits,
        features,
    )


def _memory_end(root: etree._Element) -> int:
    """Return where the guest's memory ends, with room for hot-plugged one.

    Source: qemu, hw/i386/pc.c (pc_memory_init): each slot is aligned to
    1 GiB.
    """
    memory = _bytes(root.find("memory"))
    split, below = _Q35_SPLIT if _is_pcie(root) else _PC_SPLIT
    end = 4 * GIB + (memory - below if memory >= split else 0)
    most = root.find("maxMemory")
    if most is not None and _bytes(most) > memory:
        slots = min(_guest_number(most.get("slots", "0")), _MAX_SLOTS)
        end = -(-end // GIB) * GIB + _bytes(most) - memory + slots * GIB
    return end


def _bytes(element: etree._Element | None) -> int:
    """Return a size such as ``<memory unit='GiB'>8</memory>``; 0 for none."""
    if element is None:
        return 0
    text = (element.text or "").strip()
    unit = _UNITS.get(element.get("unit", "").lower(), 0)
    return int(text) * unit if re.fullmatch(r"[0-9]{1,19}", text) else 0

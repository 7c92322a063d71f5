"""Which PCI functions of the host a libvirt domain takes.

``instance boot`` and the libvirt hook ask this one reader.  What it cannot
understand may hand a function over, and is reported as that.

Source: libvirt, formatdomain.html (host device assignment; PCI passthrough
of host network devices; hard drives); src/conf/domain_conf.c: an element
counts only outside any namespace, an attribute whatever its prefix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lxml import etree

from gpu_passthrough_plugin.formats import qemu_arguments
from gpu_passthrough_plugin.model.address import Address

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
_QEMU = f"{{{QEMU_NAMESPACE}}}"

# Host devices that are no PCI functions.  Source: libvirt, domain_conf.c
# (virDomainHostdevSubsys, virDomainHostdevCaps).
_OTHER_HOSTDEVS = frozenset(
    {"usb", "scsi", "scsi_host", "mdev", "storage", "misc", "net"}
)
# Devices whose functions are all read by the rules below.
_READ_DEVICES = frozenset({"hostdev", "interface", "disk"})

# Each number's bound, and 0 where it is not given.
# Source: libvirt, docs/schemas (pciaddress).
_BOUNDS = (
    ("domain", 0xFFFFFFFF),
    ("bus", 0xFF),
    ("slot", 0x1F),
    ("function", 7),
)
# As strtoul reads it: octal after a zero, and blanks before it.
# Source: libvirt, util/virstring.c (virStrToLong_uip).
_NUMBER = re.compile(
    r"\s*\+?(?:0[xX]([0-9a-fA-F]+)|0([0-7]*)|([1-9][0-9]*))", re.ASCII
)
_MAX_DIGITS = 20
_SHOWN_LENGTH = 80
_SHOWN_WORDS = 3


class HostFunction(NamedTuple):
    """A PCI function of the host that a domain takes.

    :param is_managed: whether libvirt binds it to vfio-pci itself.
    """

    address: Address
    is_managed: bool


class HostFunctions(NamedTuple):
    """All that a domain takes of the host's PCI functions.

    :param functions: each address once, in the order of the document.
    :param unreadable: words of the document that may hand over a function
        as well, and do not say which.
    """

    functions: tuple[HostFunction, ...]
    unreadable: tuple[str, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(function.address for function in self.functions)

    @property
    def doubts(self) -> str:
        """Return the unreadable words as a message shows them; "" for none."""
        rest = len(self.unreadable) - _SHOWN_WORDS
        words = ", ".join(self.unreadable[:_SHOWN_WORDS])
        return f"{words} and {rest} more" if rest > 0 else words


def host_functions(root: etree._Element) -> HostFunctions:
    """Return the PCI functions of the host that a domain takes.

    In ``<hostdev>``, ``<interface type='hostdev'>``, NVMe disks and NVMe
    sources of their backing chains and mirrors, and QEMU's own arguments.
    """
    managed: dict[Address, bool] = {}
    unreadable: dict[str, None] = {}
    for finding in (*_of_devices(root), *_of_qemu(root)):
        if isinstance(finding, str):
            unreadable[finding] = None
        else:
            address, is_managed = finding
            # Of two the one that libvirt does not bind decides.
            managed[address] = managed.get(address, True) and is_managed
    return HostFunctions(
        tuple(HostFunction(*item) for item in managed.items()),
        tuple(unreadable),
    )


def pci_hostdevs(
    root: etree._Element,
) -> tuple[tuple[etree._Element, Address], ...]:
    """Return each ``<hostdev>`` of a PCI function, with its address.

    Without those whose address cannot be read.
    """
    return tuple(
        (device, finding.address)
        for device in root.iterfind("devices/hostdev")
        for finding in _of_device(device)
        if isinstance(finding, HostFunction)
    )


def _of_devices(root: etree._Element) -> Iterator[HostFunction | str]:
    for device in root.iterfind("devices/*"):
        # What is in a namespace is not libvirt's.
        if not device.tag.startswith("{"):
            yield from _of_device(device)


def _of_device(device: etree._Element) -> Iterator[HostFunction | str]:
    kind = _attribute(device, "type")
    if device.tag == "hostdev" and kind == "pci":
        yield from _source(device)
    elif device.tag == "hostdev" and kind not in _OTHER_HOSTDEVS:
        yield _start_tag(device)
    elif device.tag == "interface" and kind == "hostdev":
        yield from _network_source(device)
    for element in device.iter("*"):
        kind = _attribute(element, "type")
        # The kind that a network chose for its interface.
        if element.tag == "actual" and kind == "hostdev":
            yield from _network_source(element)
        # A disk, or a source in its backing chain.
        elif kind == "nvme" and element.tag != "controller":
            yield from _source(element, is_nvme=True)
        elif device.tag not in _READ_DEVICES and _is_strange(element):
            yield _start_tag(device)


def _is_strange(element: etree._Element) -> bool:
    """Return whether an unknown device has a PCI address as its source.

    It is in a ``<source>`` without attributes, which libvirt uses for
    almost nothing else.
    """
    return (element.tag, len(element.attrib)) == ("source", 0) and any(
        _attribute(address, "type") == "pci"
        or None not in (_attribute(address, n) for n in ("slot", "function"))
        for address in element.iterfind("address")
    )


def _source(
    element: etree._Element, *, is_nvme: bool = False
) -> Iterator[HostFunction | str]:
    """Yield the function whose address is in an element's ``<source>``."""
    sources = _children(element, "source")
    pairs = [(s, a) for s in sources for a in _children(s, "address")]
    tags = [*(s.tag for s in sources), *(a.tag for _, a in pairs)]
    if tags != ["source", "address"]:
        # libvirt takes the first of several, and 0000:00:00.0 for none.
        yield _start_tag(element)
    # Source: libvirt, conf/domain_postparse.c (virDomainDiskDefPostParse).
    default = "yes" if element.tag == "disk" else "no"
    for source, address in pairs:
        place = _host_address(address)
        if place is None:
            yield _start_tag(address)
            continue
        managed = _attribute(source if is_nvme else element, "managed")
        yield HostFunction(place, (managed or default) == "yes")


def _network_source(element: etree._Element) -> Iterator[HostFunction | str]:
    """Yield the function of a network interface, unless that is on USB."""
    kinds = {
        _attribute(address, "type")
        for source in _children(element, "source")
        for address in _children(source, "address")
    }
    if kinds == {"usb"}:
        return
    if kinds != {"pci"}:
        yield _start_tag(element)
    yield from _source(element)


def _of_qemu(root: etree._Element) -> Iterator[HostFunction | str]:
    """Yield functions in arguments that libvirt hands to QEMU unread.

    Source: libvirt, drvqemu.html.
    """
    yield from _of_arguments(arguments(root))
    hostdevs = {
        _attribute(alias, "name")
        for alias in root.iterfind("devices/hostdev/alias")
    }
    # Properties that are changed of a device that libvirt makes.
    for device in root.iterfind(f"{_QEMU}override/{_QEMU}device"):
        properties = {
            _attribute(element, "name") or "": _attribute(element, "value")
            or ""
            for element in device.iterfind(f".//{_QEMU}property")
            if _attribute(element, "type") != "remove"
        }
        alias = _attribute(device, "alias") or ""
        is_hostdev = alias in hostdevs or qemu_arguments.is_hostdev(alias)
        if not qemu_arguments.names_function(
            properties, is_hostdev=is_hostdev
        ):
            continue
        if "driver" in properties:
            yield from _of_arguments(("-device", json.dumps(properties)))
            continue
        for name, value in properties.items():
            yield from _of_arguments(("-global", f"vfio-pci.{name}={value}"))


def arguments(root: etree._Element) -> tuple[str, ...]:
    """Return the arguments that libvirt hands to QEMU unread."""
    return tuple(
        _attribute(element, "value") or ""
        for element in root.iterfind(f"{_QEMU}commandline/{_QEMU}arg")
    )


def _of_arguments(arguments: Sequence[str]) -> Iterator[HostFunction | str]:
    functions, unreadable = qemu_arguments.host_functions(arguments)
    for place in functions:
        yield HostFunction(place, is_managed=False)
    yield from unreadable


def _children(element: etree._Element, name: str) -> list[etree._Element]:
    """Return children of that name, in any namespace.

    Source: libvirt, util/virxml.c (virXMLNodeNameEqual).
    """
    return list(element.iterchildren(f"{{*}}{name}"))


def _attribute(element: etree._Element, name: str) -> str | None:
    """Return an attribute's value, whatever its prefix; None without one.

    Source: libxml2, tree.c (xmlGetProp takes the first of that name).
    """
    for key, value in element.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def _start_tag(element: etree._Element) -> str:
    """Return an element's start tag, shortened, for a message."""
    words = [element.tag]
    for key, value in element.items():
        words.append(f'{str(key).rpartition("}")[2]}="{value!s}"')
    text = " ".join(f"<{' '.join(words)}>".split())
    if len(text) > _SHOWN_LENGTH:
        text = f"{text[: _SHOWN_LENGTH - 1]}…"
    return text


def _host_address(element: etree._Element) -> Address | None:
    numbers = []
    for name, most in _BOUNDS:
        text = _attribute(element, name)
        value = 0 if text is None else number(text)
        if value is None or value > most:
            return None
        numbers.append(value)
    return Address(*numbers)


def number(text: str) -> int | None:
    """Return the number that libvirt reads in an attribute; None for none."""
    match = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        return None
    hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        return int(hexadecimal, 16)
    return int(decimal) if decimal is not None else int(octal or "0", 8)

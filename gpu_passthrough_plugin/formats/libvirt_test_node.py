"""What libvirt's test driver reads: a host with its domains, in one document.

Source: libvirt, src/test/test_driver.c (testOpenFromFile, testParseDomains,
testDomainObjNamespaceParse): ``test:///PATH`` starts with these domains, each
in the state that it has in elements of a namespace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lxml import etree

from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import (
    host_functions,
    pci_hostdevs,
)
from gpu_passthrough_plugin.model.reading import encoded

NAMESPACE = "http://libvirt.org/schemas/domain/test/1.0"
_TYPE = "test"
# Source: libvirt, libvirt-domain.h (virDomainState).
_RUNNING, _SHUT_OFF = "1", "5"


class NodeDomain(NamedTuple):
    """A domain that the test driver starts with.

    :param xml: of the running guest, or of the definition.
    """

    xml: str
    is_running: bool
    is_transient: bool


def node(domains: Iterable[NodeDomain]) -> bytes:
    """Return the document for some domains, and none of the driver's own."""
    root = etree.Element("node")
    for domain in domains:
        element = _root(domain.xml)
        state = _RUNNING if domain.is_running else _SHUT_OFF
        etree.SubElement(element, f"{{{NAMESPACE}}}runstate").text = state
        if domain.is_transient:
            etree.SubElement(element, f"{{{NAMESPACE}}}transient").text = "1"
        root.append(element)
    return etree.tostring(root)


def as_test(xml: str) -> str:
    """Return a domain's XML for the test driver, which takes no other type."""
    root = _root(xml)
    root.set("type", _TYPE)
    return etree.tostring(root, encoding="unicode")


def plugged(xml: str, device: str) -> str:
    """Return a domain's XML with another device.

    :param device: its XML.
    """
    root = _root(xml)
    devices = root.find("devices")
    if devices is None:
        devices = etree.SubElement(root, "devices")
    devices.append(_element(device))
    return etree.tostring(root, encoding="unicode")


def unplugged(xml: str, device: str) -> str:
    """Return a domain's XML without the PCI functions of a device.

    :param device: its XML; one that the domain does not have is ignored.
    """
    parent = etree.Element("domain")
    etree.SubElement(parent, "devices").append(_element(device))
    functions = host_functions(parent).addresses
    root = _root(xml)
    for hostdev, function in pci_hostdevs(root):
        above = hostdev.getparent()
        if function in functions and above is not None:
            above.remove(hostdev)
    return etree.tostring(root, encoding="unicode")


def _root(xml: str) -> etree._Element:
    return domain_xml.tree(encoded(xml), "a domain of the sandbox").getroot()


def _element(xml: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    return etree.fromstring(xml, parser)

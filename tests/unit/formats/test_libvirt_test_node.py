"""The documents of libvirt's test driver; a functional test has libvirt."""

from __future__ import annotations

from lxml import etree

from gpu_passthrough_plugin.formats import libvirt_test_node
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.formats.libvirt_test_node import NodeDomain

XML = "<domain type='kvm'><name>a &amp; b</name><devices/></domain>"
DEVICE = (
    "<hostdev mode='subsystem' type='pci' managed='no'><source><address"
    " domain='0' bus='6' slot='0' function='{}'/></source></hostdev>"
)


def _functions(xml: str) -> list[str]:
    return list(map(str, host_functions(etree.fromstring(xml)).addresses))


def test_states() -> None:
    domains = [
        NodeDomain(XML, is_running=True, is_transient=True),
        NodeDomain(XML, is_running=False, is_transient=False),
    ]
    root = etree.fromstring(libvirt_test_node.node(domains))
    names = {"test": libvirt_test_node.NAMESPACE}
    states = root.xpath("domain/test:runstate/text()", namespaces=names)
    assert states == ["1", "5"]
    transient = root.xpath("domain/test:transient/text()", namespaces=names)
    assert transient == ["1"]
    assert root.xpath("domain/name/text()") == ["a & b"] * 2


def test_the_type() -> None:
    root = etree.fromstring(libvirt_test_node.as_test(XML))
    assert (root.get("type"), root.findtext("name")) == ("test", "a & b")


def test_plugging() -> None:
    xml = libvirt_test_node.plugged(XML, DEVICE.format(0))
    xml = libvirt_test_node.plugged(xml, DEVICE.format(1))
    assert _functions(xml) == ["0000:06:00.0", "0000:06:00.1"]
    xml = libvirt_test_node.unplugged(xml, DEVICE.format(0))
    assert _functions(xml) == ["0000:06:00.1"]
    assert libvirt_test_node.unplugged(xml, DEVICE.format(0)) == xml
    bare = "<domain><name>a</name></domain>"
    assert _functions(libvirt_test_node.plugged(bare, DEVICE.format(0)))

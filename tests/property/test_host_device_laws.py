"""A domain's host devices are what libvirt's own parser makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import domain_xml, host_devices
from gpu_passthrough_plugin.formats.host_devices import HostFunctions

Taken = dict[str, bool]


class Libvirt:
    """libvirt's parser, by way of its driver for tests."""

    def __init__(self, libvirt: Any) -> None:
        libvirt.registerErrorHandler(lambda *_: None, None)
        self._error = libvirt.libvirtError
        self._connection = libvirt.open("test:///default")

    def read(self, text: str) -> Taken | None:
        """What it makes of a domain; None where it refuses it."""
        try:
            domain = self._connection.defineXML(text)
        except self._error:
            return None
        normal = domain.XMLDesc()
        domain.undefine()
        return dict(_functions(etree.fromstring(normal)))


def _functions(root: etree._Element) -> Iterator[tuple[str, bool]]:
    """Of a document as libvirt itself writes it."""
    for element in root.iter():
        kind = (element.tag, element.get("type"))
        is_disk = kind[1] == "nvme"
        if is_disk or kind in {("hostdev", "pci"), ("interface", "hostdev")}:
            source = element.find("source")
            address = None if source is None else source.find("address")
            if source is None or address is None:
                continue
            if address.get("type", "pci") != "pci":
                continue
            numbers = (
                int(address.attrib[name], 16)
                for name in ("domain", "bus", "slot", "function")
            )
            managed = (source if is_disk else element).get("managed")
            place = "{:04x}:{:02x}:{:02x}.{:x}".format(*numbers)
            yield place, managed == "yes"


@pytest.fixture(scope="module")
def libvirt() -> Libvirt:
    return Libvirt(pytest.importorskip("libvirt"))


def element(tag: str, attributes: dict[str, str], inside: str) -> str:
    given = "".join(f" {k}={quoteattr(v)}" for k, v in attributes.items())
    return f"<{tag}{given}>{inside}</{tag}>"


def optional(**values: st.SearchStrategy[str]) -> Any:
    return st.fixed_dictionaries({}, optional=values)


numbers = st.one_of(
    st.integers(0, 31).map(lambda n: f"0x{n:02x}"),
    st.integers(0, 31).map(lambda n: f"0X{n:X}"),
    st.integers(0, 31).map(str),
    st.integers(0, 31).map(lambda n: f" +{n}"),
    st.integers(0, 31).map(lambda n: f"{n:03o}"),
    st.integers(0, 31).map(lambda n: f"0{n:o}"),
    st.sampled_from(
        ["", "0x", "08", "-1", " 6", "+6", "6 ", "1_0", "0b1", "x", "٦", "0X1"]
    ),
)
addresses = st.builds(
    lambda prefix, given, more: element(f"{prefix}address", given | more, ""),
    st.sampled_from([""] * 9 + ["x:"]),
    optional(
        domain=st.sampled_from(["0", "0x0000", "0x10000", "00", "1", "?"]),
        bus=numbers | st.integers(0, 260).map(str),
        slot=numbers,
        function=st.integers(0, 7).map(str),
    ),
    st.sampled_from([{"type": "pci"}] * 9 + [{"type": "usb"}, {}]),
)
noise = st.sampled_from(
    ["", "", " ", "text", "<!-- <source/> -->", "<![CDATA[<source/>]]>",
     "<?pi source?>", "<alias name='a'/>", "<boot order='1'/>"]
)  # fmt: skip
managed = st.sampled_from(["yes", "no"] * 4 + ["maybe", "Yes"])
sources = st.builds(
    lambda prefix, given, more, before, inside: element(
        f"{prefix}source", given | more, before + "".join(inside)
    ),
    st.sampled_from([""] * 9 + ["x:"]),
    st.sampled_from([{"type": "pci", "namespace": "1"}] * 4 + [{}]),
    optional(managed=managed),
    noise,
    st.lists(addresses, min_size=1, max_size=1)
    | st.lists(addresses, max_size=2),
)
hostdevs = st.builds(
    lambda tag, mode, kind, before, inside: element(
        tag, mode | kind, before + "".join(inside)
    ),
    st.sampled_from(["hostdev"] * 5 + ["x:hostdev"]),
    optional(
        mode=st.sampled_from(["subsystem", "capabilities"]), managed=managed
    ),
    st.sampled_from(
        [{"type": "pci"}] * 6 + [{"x:type": "pci"}, {"type": "usb"}, {}]
    ),
    noise,
    st.lists(sources, min_size=1, max_size=1) | st.lists(sources, max_size=2),
)
interfaces = st.builds(
    lambda kind, more, before, source: element(
        "interface", {"type": kind} | more, before + source
    ),
    st.sampled_from(["hostdev"] * 4 + ["user"]),
    optional(managed=managed),
    noise,
    sources,
)
chains = st.recursive(
    st.builds(
        lambda source: ("nvme", source),
        sources,
    )
    | st.just(("file", "<source file='/a'/>")),
    lambda inside: st.builds(
        lambda link: (
            "file",
            "<source file='/b'/>"
            + element(
                "backingStore",
                {"type": link[0]},
                f"<format type='raw'/>{link[1]}",
            ),
        ),
        inside,
    ),
    max_leaves=3,
)


@st.composite
def domains(draw: st.DrawFn) -> str:
    devices = draw(st.lists(hostdevs | interfaces, max_size=2))
    disks = draw(st.lists(chains, max_size=2))
    for number, (kind, inside) in enumerate(disks):
        head = "<driver name='qemu' type='qcow2'/>"
        target = f"<target dev='vd{'abc'[number]}'/>"
        devices.append(element("disk", {"type": kind}, head + inside + target))
    return domain("".join(devices))


def domain(devices: str) -> str:
    return (
        "<domain type='test' xmlns:x='u'><name>g</name><memory>9</memory>"
        f"<os><type>hvm</type></os><devices>{devices}</devices></domain>"
    )


def read(text: str) -> HostFunctions:
    root = domain_xml.tree(text.encode(), "g").getroot()
    return host_devices.host_functions(root)


@settings(max_examples=400, deadline=None)
@given(text=domains())
def test_what_libvirt_takes_is_found(libvirt: Libvirt, text: str) -> None:
    expected = libvirt.read(text)
    taken = read(text)
    event(f"refused by libvirt: {expected is None}")
    event(f"doubtful: {bool(taken.unreadable)}")
    if expected is None or taken.unreadable:
        return
    functions: Taken = {}
    for address, is_managed in taken.functions:
        functions[str(address)] = is_managed
    assert functions.keys() == expected.keys()
    if len(expected) == 1 == text.count("address"):
        assert functions == expected


GPU = "<address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>"
SOURCE = f"<source type='pci' namespace='1'>{GPU}</source>"
ROWS = [
    f"<hostdev type='pci' managed='yes'><source>{GPU}</source></hostdev>",
    "<hostdev type='pci'><source><address bus='06' slot='010'/></source>"
    "</hostdev>",
    "<disk type='file'><source file='/a'/><backingStore type='nvme'>"
    f"<format type='raw'/>{SOURCE}</backingStore><target dev='vda'/></disk>",
    f"<disk type='nvme'><driver name='qemu' type='raw'/>{SOURCE}"
    "<target dev='vda'/></disk>",
    "<disk type='nvme'><driver name='qemu' type='raw'/>"
    f"<source managed='no' type='pci' namespace='1'>{GPU}</source>"
    "<target dev='vda'/></disk>",
    "<interface type='hostdev' managed='yes'><source>"
    "<address type='pci' bus='0x06'/></source></interface>",
]


@pytest.mark.parametrize("devices", ROWS)
def test_rows(libvirt: Libvirt, devices: str) -> None:
    taken = read(domain(devices))
    expected = libvirt.read(domain(devices))
    assert expected
    assert {str(f.address): f.is_managed for f in taken.functions} == expected
    assert not taken.unreadable


DIFFERENCES = [
    # libvirt makes 0000:00:00.0 of it.
    "<hostdev type='pci'><source/></hostdev>",
    # libvirt takes the first.
    f"<hostdev type='pci'><source>{GPU}{GPU}</source></hostdev>",
]


@pytest.mark.parametrize("devices", DIFFERENCES)
def test_what_libvirt_takes_and_is_doubtful_here(
    libvirt: Libvirt, devices: str
) -> None:
    assert libvirt.read(domain(devices)) is not None
    assert read(domain(devices)).unreadable


def test_a_document_type_is_refused_here(libvirt: Libvirt) -> None:
    text = f"<!DOCTYPE domain []>{domain('')}"
    assert libvirt.read(text) == {}
    with pytest.raises(errors.Invalid):
        read(text)


def test_a_mirror_that_the_driver_for_tests_forgets(libvirt: Libvirt) -> None:
    text = domain(
        "<disk type='file'><source file='/a'/><target dev='vda'/>"
        f"<mirror type='nvme' job='copy'>{SOURCE}</mirror></disk>"
    )
    assert libvirt.read(text) == {}
    assert [str(a) for a in read(text).addresses] == ["0000:06:00.0"]

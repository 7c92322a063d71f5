"""Which PCI functions a domain takes, however its XML is written."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest

from gpu_passthrough_plugin.formats import domain_xml, host_devices
from gpu_passthrough_plugin.formats.host_devices import HostFunctions

GPU = "0000:06:00.0"
PLACE = "<address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>"
PCI_PLACE = PLACE.replace("<address", "<address type='pci'")
HOSTDEV = (
    "<hostdev mode='subsystem' type='pci' managed='yes'>"
    f"<source>{PLACE}</source></hostdev>"
)
NVME = f"<source type='pci' namespace='1'>{PLACE}</source>"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"


def domain(devices: str = HOSTDEV, *, rest: str = "") -> str:
    return (
        f"<domain type='kvm'><name>g</name>{rest}"
        f"<devices>{devices}</devices></domain>"
    )


def read(text: str) -> HostFunctions:
    root = domain_xml.tree(text.encode(), "g.xml").getroot()
    return host_devices.host_functions(root)


def functions(text: str) -> dict[str, bool]:
    """What is taken, where that is certain."""
    taken = read(text)
    assert not taken.unreadable
    return {
        str(address): is_managed for address, is_managed in taken.functions
    }


def addressed(attributes: str) -> str:
    source = f"<source><address {attributes}/></source>"
    return domain(f"<hostdev type='pci'>{source}</hostdev>")


def given_to_qemu(*arguments: str, prefix: str = "qemu") -> str:
    args = "".join(
        f"<{prefix}:arg value={quoteattr(argument)}/>"
        for argument in arguments
    )
    return domain(
        "",
        rest=f"<{prefix}:commandline xmlns:{prefix}='{QEMU}'>{args}"
        f"</{prefix}:commandline>",
    )


@pytest.mark.parametrize(
    ("devices", "is_managed"),
    [
        (HOSTDEV, True),
        (HOSTDEV.replace("managed='yes'", "managed='no'"), False),
        (HOSTDEV.replace("managed='yes'", ""), False),
        (HOSTDEV.replace("managed='yes'", "managed='Yes'"), False),
        (HOSTDEV.replace("mode='subsystem'", ""), True),
        (
            f"<interface type='hostdev'><source>{PCI_PLACE}</source>"
            "</interface>",
            False,
        ),
        (
            f"<interface type='hostdev' managed='yes'><source>{PCI_PLACE}"
            "</source></interface>",
            True,
        ),
        (
            "<interface type='network'><source network='n'/><actual"
            f" type='hostdev' managed='yes'><source>{PCI_PLACE}</source>"
            "</actual></interface>",
            True,
        ),
        # libvirt binds an NVMe disk's own, unless it is told not to.
        (f"<disk type='nvme'>{NVME}</disk>", True),
        (
            f"<disk type='nvme'>{NVME}</disk>".replace(
                "type='pci'", "type='pci' managed='no'"
            ),
            False,
        ),
        (f"<disk type='nvme' managed='no'>{NVME}</disk>", True),
        (
            "<disk type='file'><source file='/x'/><backingStore type='nvme'>"
            f"{NVME}</backingStore></disk>",
            False,
        ),
        (
            "<disk type='file'><backingStore type='file'><source file='/y'/>"
            f"<backingStore type='nvme'>{NVME}</backingStore></backingStore>"
            "</disk>",
            False,
        ),
        (
            f"<disk type='file'><mirror type='nvme' job='copy'>{NVME}"
            "</mirror></disk>",
            False,
        ),
        (
            "<disk type='file'><source file='/x'><dataStore type='nvme'>"
            f"{NVME}</dataStore></source></disk>",
            False,
        ),
        (
            "<disk type='file'><backingStore type='nvme'>"
            f"<source type='pci' managed='yes'>{PLACE}</source>"
            "</backingStore></disk>",
            True,
        ),
        # A prefix of an attribute is nothing to libvirt.
        (
            HOSTDEV.replace("type=", "x:type=").replace(
                "<hostdev", "<hostdev xmlns:x='u'"
            ),
            True,
        ),
        (f"</devices><devices>{HOSTDEV}", True),
        (f"<!-- a --><![CDATA[ b ]]>{HOSTDEV}<!-- <hostdev> -->", True),
    ],
)
def test_everything_that_takes_a_function(
    devices: str, is_managed: bool
) -> None:
    assert functions(domain(devices)) == {GPU: is_managed}


@pytest.mark.parametrize(
    "devices",
    [
        "",
        "<hostdev type='usb'><source><address bus='1' device='2'/></source>"
        "</hostdev>",
        "<hostdev type='scsi'><source><adapter name='a'/><address bus='0'"
        " target='0' unit='0'/></source></hostdev>",
        "<hostdev type='mdev'><source><address uuid='u'/></source></hostdev>",
        "<hostdev mode='capabilities' type='storage'><source><block>/dev/sda"
        "</block></source></hostdev>",
        f"<interface type='network'><source>{PLACE}</source></interface>",
        "<interface type='hostdev'><source><address type='usb' bus='0x06'/>"
        "</source></interface>",
        f"<disk type='file'><source>{PLACE}</source></disk>",
        "<controller type='nvme' index='0'/>",
        "<disk type='file'><target bus='nvme'/></disk>",
        f"<video><source/>{PCI_PLACE}</video>",
        f"<!-- {HOSTDEV} -->",
        f"<x:hostdev xmlns:x='u' type='pci'><source>{PLACE}</source>"
        "</x:hostdev>",
        f"<hostdev xmlns='u' type='pci'><source>{PLACE}</source></hostdev>",
    ],
)
def test_what_takes_none(devices: str) -> None:
    assert functions(domain(devices)) == {}


def test_what_stands_elsewhere_is_no_device() -> None:
    rest = f"<metadata><devices>{HOSTDEV}</devices></metadata>"
    assert functions(domain("", rest=rest)) == {}


DOUBTFUL = {
    "no source": f"<hostdev type='pci'>{PLACE}</hostdev>",
    "source is text": "<hostdev type='pci'><![CDATA[<source/>]]></hostdev>",
    "two addresses": f"<hostdev type='pci'><source>{PLACE}{PLACE}</source>"
    "</hostdev>",
    "two sources": f"<hostdev type='pci'><source/><source>{PLACE}</source>"
    "</hostdev>",
    "a prefixed source": "<hostdev type='pci'><x:source xmlns:x='u'>"
    f"{PLACE}</x:source></hostdev>",
    "no type": f"<hostdev mode='subsystem'><source>{PLACE}</source></hostdev>",
    "an unknown type": f"<hostdev type='pcie2'><source>{PLACE}</source>"
    "</hostdev>",
    "a network of no type": f"<interface type='hostdev'><source>{PLACE}"
    "</source></interface>",
    "an NVMe disk without a source": "<disk type='nvme'/>",
    "an unknown device": f"<accelerator><source>{PCI_PLACE}</source>"
    "</accelerator>",
    "an unknown device, of no type": f"<accelerator model='x'><a><source>"
    f"{PLACE}</source></a></accelerator>",
    "a long one": f"<hostdev type='pci' a='{'x' * 90}'/>",
    "many": "".join(f"<hostdev type='pci' n='{n}'/>" for n in range(9)),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_may_take_one_is_said_to(name: str) -> None:
    taken = read(domain(DOUBTFUL[name]))
    assert taken.unreadable
    assert "<" in taken.doubts


def test_the_words_of_doubts_are_few() -> None:
    assert read(domain("")).doubts == ""
    many = read(domain(DOUBTFUL["many"])).doubts
    assert many.count("<hostdev") == 3
    assert many.endswith("6 more")
    assert len(read(domain(DOUBTFUL["a long one"])).doubts) == 80


def test_several_of_several_kinds() -> None:
    audio = HOSTDEV.replace("function='0x0'", "function='0x1'")
    assert functions(domain(HOSTDEV + audio + HOSTDEV)) == {
        GPU: True,
        "0000:06:00.1": True,
    }
    # Of two the one that libvirt does not bind decides.
    unbound = HOSTDEV.replace("managed='yes'", "managed='no'")
    assert functions(domain(unbound + HOSTDEV)) == {GPU: False}


@pytest.mark.parametrize(
    ("attributes", "address"),
    [
        ("bus='6'", "0000:06:00.0"),
        ("bus=' 6'", "0000:06:00.0"),
        ("bus='+6'", "0000:06:00.0"),
        ("bus='0X0a' slot='31' function='7'", "0000:0a:1f.7"),
        ("bus='06' slot='010'", "0000:06:08.0"),
        ("bus='010' slot='017'", "0000:08:0f.0"),
        ("domain='00' bus='01' slot='00' function='0'", "0000:01:00.0"),
        ("domain='0x10000' bus='0xe2'", "10000:e2:00.0"),
        ("domain='0' bus='&#48;x06'", "0000:06:00.0"),
        ("", "0000:00:00.0"),
    ],
)
def test_numbers_as_libvirt_reads_them(attributes: str, address: str) -> None:
    assert list(functions(addressed(attributes))) == [address]


@pytest.mark.parametrize(
    "attributes",
    [
        "bus=''",
        "bus='0x'",
        "bus='0xgg'",
        "bus='08'",
        "bus='-1'",
        "bus='6 '",
        "bus='1_0'",
        "bus='0b11'",
        "bus='٦'",
        "bus='256'",
        "slot='0x20'",
        "function='8'",
        "domain='0x100000000'",
        f"domain='{'9' * 5000}'",
    ],
)
def test_an_address_that_cannot_be_read(attributes: str) -> None:
    (words,) = read(addressed(attributes)).unreadable
    assert words.startswith("<address ")
    assert len(words) <= 80


def test_arguments_of_qemu() -> None:
    for prefix in ("qemu", "q"):
        text = given_to_qemu("-device", "vfio-pci,host=06:00.0", prefix=prefix)
        assert functions(text) == {GPU: False}
    text = given_to_qemu("-readconfig", "/etc/qemu.cfg")
    assert read(text) == HostFunctions((), ("-readconfig /etc/qemu.cfg",))
    # Of another namespace libvirt knows nothing.
    text = given_to_qemu("-device", "vfio-pci,host=06:00.0")
    assert functions(text.replace(QEMU, "urn:other")) == {}


def override(alias: str = "a", devices: str = "", **properties: str) -> str:
    inside = "".join(
        f"<q:property name='{name}' type='string' value='{value}'/>"
        for name, value in properties.items()
    )
    return domain(
        devices,
        rest=f"<q:override xmlns:q='{QEMU}'><q:device alias='{alias}'>"
        f"<q:frontend>{inside}</q:frontend></q:device></q:override>",
    )


def test_another_model_for_what_a_hostdev_names() -> None:
    """As guides to a vGPU with a display have it; nothing more is taken."""
    model = {"driver": "vfio-pci-nohotplug", "display": "on"}
    mdev = (
        "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source>"
        "<address uuid='ae6411d7-151d-485d-98e7-fa377c478da0'/></source>"
        "</hostdev>"
    )
    assert functions(override("hostdev0", mdev, **model)) == {}
    assert functions(override("hostdev0", HOSTDEV, **model)) == {GPU: True}
    assert read(override("ua-net", HOSTDEV, **model)).unreadable
    called = HOSTDEV.replace("</hostdev>", "<alias name='ua-gpu'/></hostdev>")
    assert functions(override("ua-gpu", called, **model)) == {GPU: True}
    named = override("hostdev0", host="0000:07:00.0", **model)
    assert functions(named) == {"0000:07:00.0": False}
    removed = override("hostdev0", HOSTDEV, host="").replace(
        "type='string' value=''", "type='remove'"
    )
    assert functions(removed) == {GPU: True}


def test_properties_that_qemu_is_given_for_others() -> None:
    assert functions(override(host="0000:06:00.0")) == {GPU: False}
    assert functions(override(driver="vfio-pci", host=GPU)) == {GPU: False}
    assert functions(override(driver="virtio-vga", host="x")) == {}
    assert functions(override(**{"x-vga": "on"})) == {}
    assert read(override(host="x")).unreadable
    assert read(override(driver="vfio-pci")).unreadable
    assert read(override(fd="9")).unreadable

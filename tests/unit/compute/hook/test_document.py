"""What a domain's XML takes of the host, however it is written."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import document

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
GPU = "0000:06:00.0"
PLACE = "<address domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>"
PCI_PLACE = PLACE.replace("<address", "<address type='pci'")
HOSTDEV = (
    "<hostdev mode='subsystem' type='pci' managed='yes'>"
    f"<source>{PLACE}</source></hostdev>"
)


def domain(devices: str = HOSTDEV, *, uuid: str = UUID, rest: str = "") -> str:
    return (
        f"<domain type='kvm'><name>g</name><uuid>{uuid}</uuid>{rest}"
        f"<devices>{devices}</devices></domain>"
    )


def functions(text: str | bytes) -> dict[str, bool]:
    raw = text.encode() if isinstance(text, str) else text
    return document.guest(raw, "g").functions


def refused(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(errors.Invalid) as caught:
        document.guest(raw, "g")
    return str(caught.value)


def addressed(attributes: str) -> str:
    source = f"<source><address {attributes}/></source>"
    return domain(f"<hostdev type='pci'>{source}</hostdev>")


def test_a_hostdev() -> None:
    found = document.guest(domain().encode(), "g")
    assert (found.name, found.uuid) == ("g", UUID)
    assert found.functions == {GPU: True}


@pytest.mark.parametrize(
    "devices",
    [
        f"<hostdev type='pci' managed='no'><source>{PLACE}</source></hostdev>",
        f"<hostdev type='pci'><source>{PLACE}</source></hostdev>",
        f"<interface type='hostdev'><source>{PCI_PLACE}</source></interface>",
        "<disk type='nvme'><source type='pci' managed='no'>"
        f"{PLACE}</source></disk>",
        "<disk type='file'><backingStore type='nvme'><source>"
        f"{PLACE}</source></backingStore></disk>",
    ],
)
def test_everything_that_hands_a_function_over(devices: str) -> None:
    assert functions(domain(devices)) == {GPU: False}


@pytest.mark.parametrize("kind", ["interface", "disk"])
def test_who_binds_it(kind: str) -> None:
    devices = {
        "interface": "<interface type='hostdev' managed='yes'><source>"
        f"{PCI_PLACE}</source></interface>",
        "disk": "<disk type='nvme'><source type='pci' managed='yes'>"
        f"{PLACE}</source></disk>",
    }
    assert functions(domain(devices[kind])) == {GPU: True}


@pytest.mark.parametrize(
    "devices",
    [
        "",
        f"<hostdev type='usb'><source>{PLACE}</source></hostdev>",
        f"<hostdev type='pci'>{PLACE}</hostdev>",
        f"<interface type='network'><source>{PLACE}</source></interface>",
        "<interface type='hostdev'><source><address type='usb' bus='0x06'/>"
        "</source></interface>",
        f"<disk type='file'><source>{PLACE}</source></disk>",
        f"<!-- {HOSTDEV} -->",
        f"<hostdev type='pci'><![CDATA[<source>{PLACE}</source>]]></hostdev>",
        f"<x:hostdev xmlns:x='u' type='pci'><source>{PLACE}</source>"
        "</x:hostdev>",
    ],
)
def test_what_hands_none_over(devices: str) -> None:
    found = document.guest(domain(devices, uuid="none").encode(), "g")
    assert (found.functions, found.uuid) == ({}, "")


def test_what_stands_elsewhere_is_no_device() -> None:
    rest = f"<metadata><devices>{HOSTDEV}</devices></metadata>"
    assert functions(domain("", rest=rest)) == {}


def test_comments_and_sections_around_one() -> None:
    devices = f"<!-- a --><![CDATA[ b ]]>{HOSTDEV}<!-- <hostdev> -->"
    assert functions(domain(devices)) == {GPU: True}


def test_several_of_several_kinds() -> None:
    audio = HOSTDEV.replace("function='0x0'", "function='0x1'")
    assert functions(domain(HOSTDEV + audio + HOSTDEV)) == {
        GPU: True,
        "0000:06:00.1": True,
    }


@pytest.mark.parametrize(
    ("attributes", "address"),
    [
        ("bus='6'", "0000:06:00.0"),
        ("bus='0X0a' slot='31' function='7'", "0000:0a:1f.7"),
        ("bus='010' slot='017'", "0000:08:0f.0"),
        ("domain='0x10000' bus='0xe2'", "10000:e2:00.0"),
        ("domain='0' bus='&#48;x06'", "0000:06:00.0"),
        ("", "0000:00:00.0"),
    ],
)
def test_numbers_as_c_reads_them(attributes: str, address: str) -> None:
    assert list(functions(addressed(attributes))) == [address]


@pytest.mark.parametrize(
    "attributes",
    [
        "bus=''",
        "bus='0x'",
        "bus='0xgg'",
        "bus='08'",
        "bus='-1'",
        "bus='+6'",
        "bus=' 6'",
        "bus='1_0'",
        "bus='٦'",
        "bus='256'",
        "slot='0x20'",
        "function='8'",
        "domain='0x100000000'",
        f"domain='{'9' * 5000}'",
    ],
)
def test_what_is_no_address(attributes: str) -> None:
    assert "has a PCI address whose" in refused(addressed(attributes))


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("vfio-pci,host=06:00.0", GPU),
        ("vfio-pci,host=0000:06:00.0,id=a", GPU),
        ("vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:06:00.0", GPU),
        ('{"driver":"vfio-pci","host":"0000:06:00.0"}', GPU),
        ("VFIO-PCI,host=10000:E2:00.1", "10000:e2:00.1"),
    ],
)
def test_arguments_of_qemu(value: str, address: str) -> None:
    rest = (
        "<qemu:commandline xmlns:qemu='u'><qemu:arg value='-device'/>"
        f"<qemu:arg value='{value}'/></qemu:commandline>"
    )
    assert functions(domain("", rest=rest)) == {address: False}


def test_arguments_that_name_no_function() -> None:
    def given(value: str) -> str:
        return domain(
            "",
            rest="<q:commandline xmlns:q='u'>"
            f"<q:arg value='{value}'/></q:commandline>",
        )

    mdev = "vfio-pci,sysfsdev=/sys/bus/mdev/devices/0-1"
    assert functions(given(mdev)) == {}
    assert functions(given("virtio-net-pci,host=06:00.0")) == {}
    assert "names no function" in refused(given("vfio-pci,host=x"))
    assert "names no function" in refused(given("vfio-pci,host=06:00.9"))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (UUID.upper(), UUID),
        (UUID.replace("-", ""), UUID),
        (f"\n {UUID}\n", UUID),
        ("&#53;f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11", UUID),
    ],
)
def test_uuids(written: str, kept: str) -> None:
    assert document.guest(domain(uuid=written).encode(), "g").uuid == kept


@pytest.mark.parametrize("uuid", ["", "../../etc", UUID[:-1], "g" * 32])
def test_what_is_no_uuid(uuid: str) -> None:
    assert "has the UUID" in refused(domain(uuid=uuid))


def test_a_second_uuid_counts_for_nothing() -> None:
    rest = "<uuid>00000000-0000-0000-0000-000000000000</uuid>"
    assert document.guest(domain(rest=rest).encode(), "g").uuid == UUID
    hidden = f"<metadata><uuid>{UUID}</uuid></metadata>"
    assert "has the UUID ''" in refused(domain(uuid="", rest=hidden))


LAUGHS = "".join(
    f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10)
)


@pytest.mark.parametrize(
    "head",
    [
        f"<!DOCTYPE domain [<!ENTITY l0 'ha'>{LAUGHS}]>",
        "<!DOCTYPE domain SYSTEM 'file:///etc/passwd'>",
        f'<!DOCTYPE domain [<!ENTITY d "{HOSTDEV}">]>',
        "<?xml version='1.0'?><!DOCTYPE domain>",
    ],
)
def test_document_types_are_refused(head: str) -> None:
    assert "<!DOCTYPE>" in refused(head + domain("&d;"))


@pytest.mark.parametrize(
    "text",
    [
        domain().encode("utf-16"),
        domain().encode("utf-16-le"),
        domain().encode("utf-32"),
        f"<?xml version='1.0' encoding='UTF-16'?>{domain()}".encode("utf-16"),
        f"<?xml version='1.0' encoding='cp037'?>{domain()}".encode("cp037"),
        f"<?xml version='1.0' encoding='UTF-7'?>{domain()}".encode(),
        f"<?xml version='1.0' encoding='latin-1'?>{domain()}".encode(),
        domain().encode() + b"\0",
        domain(rest="<a>\0</a>").encode(),
        domain(rest="<a>\xff</a>").encode("latin-1"),
        domain(rest="<a b='1' b='2'/>").encode(),
        domain(rest="<a>&none;</a>").encode(),
        b"",
        b"<domain>",
        domain().encode() * 2,
    ],
)
def test_what_is_not_plainly_xml_in_utf_8(text: bytes) -> None:
    refused(text)


def test_a_mark_of_utf_8_and_its_declaration() -> None:
    assert functions(domain().encode("utf-8-sig")) == {GPU: True}
    declared = f"<?xml version='1.0' encoding='utf-8'?>{domain()}"
    assert functions(declared) == {GPU: True}


def test_other_roots_are_refused() -> None:
    text = domain().replace("domain", "domstatus")
    assert "is a <domstatus>" in refused(text)
    prefixed = domain().replace("domain", "d:domain")
    assert "wanted a <domain>" in refused(prefixed)


def test_depth_and_size_are_bounded() -> None:
    deep = "<a>" * 300 + "</a>" * 300
    assert "elements deep" in refused(domain(rest=deep))
    fits = "<a>" * 250 + "</a>" * 250
    assert functions(domain(rest=fits)) == {GPU: True}
    huge = f"<a>{'x' * document.MOST_BYTES}</a>"
    assert "is longer than" in refused(domain(rest=huge))

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.domain_xml import GuestCpu, Platform
from gpu_passthrough_plugin.formats.host_devices import HostFunctions
from gpu_passthrough_plugin.model.address_space import GIB, Firmware
from tests.golden import assert_golden, sections

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"


def document(*inside: str, name: str = "<name>guest</name>") -> bytes:
    return f"<domain type='kvm'>{name}{''.join(inside)}</domain>".encode()


def parsed(*inside: str) -> domain_xml.Domain:
    return domain_xml.parse(document(*inside), "guest.xml")


def refused(text: bytes) -> str:
    with pytest.raises(errors.Invalid) as caught:
        domain_xml.parse(text, "guest.xml")
    message = str(caught.value)
    assert message.startswith("guest.xml: ")
    assert "\n" not in message
    return message


def test_the_least_that_a_domain_says() -> None:
    found = parsed(f"<uuid>{UUID}</uuid>")
    assert found == domain_xml.Domain(
        text=document(f"<uuid>{UUID}</uuid>"),
        uuid=UUID,
        has_own_uuid=True,
        name="guest",
        host_functions=HostFunctions((), ()),
        numa_nodes=None,
        is_pcie=False,
        buses=frozenset({0}),
        slots=frozenset(),
        platform=Platform(
            Firmware.SEABIOS,
            GuestCpu("", "", False, None, None, frozenset()),
            memory_end=4 * GIB,
            mmio64_mib=None,
            hole64_bytes=0,
        ),
    )


def test_a_uuid_is_kept_in_one_form_or_made() -> None:
    for text in (UUID.upper(), UUID.replace("-", ""), f" {UUID}\n"):
        assert parsed(f"<uuid>{text}</uuid>").uuid == UUID
    for missing in ("", "<uuid/>", "<uuid> </uuid>"):
        first, second = parsed(missing).uuid, parsed(missing).uuid
        assert str(uuid.UUID(first)) == first != second
    assert "'seven'" in refused(document("<uuid>seven</uuid>"))
    # As libvirt takes it: all text, whatever stands between.
    cut = f"<uuid>{UUID[:9]}<!-- a --><![CDATA[{UUID[9:]}]]></uuid>"
    assert parsed(cut).uuid == UUID


def test_a_name_is_all_text_in_it() -> None:
    name = "<name>good<!-- a -->evil</name>"
    assert domain_xml.parse(document(name=name), "x").name == "goodevil"
    spaced = domain_xml.parse(document(name="<name> a b </name>"), "x")
    assert spaced.name == " a b "


NOT_DOMAINS = {
    "empty": b"",
    "blanks": b"   ",
    "a zero": b"\0",
    "text": b"gpu",
    "an open element": b"<domain>",
    "two roots": b"<domain><name>a</name></domain><domain/>",
    "a stray mark of UTF-16": b"\xff\xfe<domain/>",
    "Latin-1 undeclared": b"<domain><name>\xe9</name></domain>",
    "an unknown encoding": b"<?xml version='1.0' encoding='none'?><domain/>",
    "an undefined entity": b"<domain><name>&nothing;</name></domain>",
    "too deep": document("<a>" * 100_000 + "</a>" * 100_000),
    "too many tags": document("<a/>" * 260_000),
    "too many attributes": document(
        "<a " + " ".join(f"a{n}=''" for n in range(260_000)) + "/>"
    ),
    "too long": document("x" * domain_xml.MAX_BYTES),
    "another root": b"<network><name>a</name></network>",
    "a namespace": b"<domain xmlns='urn:x'><name>a</name></domain>",
    "a prefix": b"<x:domain xmlns:x='u'><name>a</name></x:domain>",
    "no name": b"<domain/>",
    "a blank name": b"<domain><name> </name></domain>",
    "a document type": b"<!DOCTYPE domain>" + document(),
    "no UUID": document("<uuid>seven</uuid>"),
    "a long UUID": document(f"<uuid>{'9' * 5000}</uuid>"),
    "no node set": document("<numatune><memory nodeset='x'/></numatune>"),
    "no node left": document("<numatune><memory nodeset='1,^1'/></numatune>"),
}


@pytest.mark.parametrize("name", NOT_DOMAINS)
def test_what_is_no_domain(name: str) -> None:
    assert len(refused(NOT_DOMAINS[name])) < 200


def test_the_words_of_refusals() -> None:
    texts = {
        # libxml2's own words differ from release to release.
        re.sub(r"XML \(.*\);", "XML (…);", refused(text)): name
        for name, text in NOT_DOMAINS.items()
    }
    assert_golden(
        Path(__file__).with_name("domain_xml.txt"),
        sections({name: text for text, name in texts.items()}),
    )


def test_other_encodings_are_read() -> None:
    text = (
        "<?xml version='1.0' encoding='{}'?><domain><name>gäst</name></domain>"
    )
    for encoding in ("iso-8859-1", "utf-8", "utf-16"):
        raw = text.format(encoding).encode(encoding)
        assert domain_xml.parse(raw, "guest.xml").name == "gäst"


LAUGHS = "".join(
    f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10)
)


def test_hostile_documents_are_refused() -> None:
    name = "<name>{}</name>"
    laughs = f"<!ENTITY l0 'ha'>{LAUGHS}"
    for types, inside, found in (
        ("<!ENTITY e 'guest'>", name.format("&e;"), "<!DOCTYPE>"),
        ("<!ENTITY e 'guest'>", name.format("guest"), "<!DOCTYPE>"),
        # Where it is not even looked for.
        (
            "<!ENTITY f SYSTEM 'file:///nonexistent'>",
            name.format("&f;"),
            "<!DOCTYPE>",
        ),
        (laughs, name.format("&l9;"), "not well-formed"),
        (laughs, "<name a='&l9;'>guest</name>", "not well-formed"),
    ):
        text = f"<!DOCTYPE domain [{types}]><domain>{inside}</domain>"
        assert found in refused(text.encode()), inside
    for types in ("SYSTEM 'http://127.0.0.1:1/x.dtd'", "SYSTEM '/etc/passwd'"):
        text = f"<!DOCTYPE domain {types}>{document().decode()}"
        assert "<!DOCTYPE>" in refused(text.encode())


def test_no_other_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("<not well formed")
    text = (
        f"<!DOCTYPE domain [<!ENTITY f SYSTEM 'file://{tmp_path}/other'>]>"
        "<domain><name>&f;</name></domain>"
    )
    assert "<!DOCTYPE>" in refused(text.encode())


def test_a_long_attribute_is_only_long() -> None:
    long = "x" * 3_000_000
    text = document(f"<metadata a='{long}'/>")
    assert domain_xml.parse(text, "guest.xml").name == "guest"


def test_nothing_is_included() -> None:
    text = document(
        "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude'"
        " href='/etc/hostname' parse='text'/>"
    )
    assert domain_xml.parse(text, "guest.xml").name == "guest"


HOSTDEV = """<hostdev mode='subsystem' type='pci' managed='yes'><source>
<address domain='0x0000' bus='0x{bus}' slot='0x00' function='0x1'/>
</source><address type='pci' bus='0x05' slot='0x00'/></hostdev>"""


def test_functions_that_the_document_takes_itself() -> None:
    text = "".join(("<devices>", HOSTDEV.format(bus="06"), "</devices>"))
    found = parsed(text).host_functions
    assert [str(place) for place in found.addresses] == ["0000:06:00.1"]


def test_machines_with_pci_express() -> None:
    for kind, is_pcie in (
        ("<type arch='x86_64' machine='q35'>hvm</type>", True),
        ("<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>", True),
        ("<type arch='aarch64' machine='virt'>hvm</type>", True),
        ("<type arch='aarch64'>hvm</type>", True),
        ("<type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>", False),
        ("<type arch='x86_64' machine='pc'>hvm</type>", False),
        ("<type>hvm</type>", False),
        ("", False),
    ):
        assert parsed(f"<os>{kind}</os>").is_pcie is is_pcie, kind


def test_places_that_are_taken() -> None:
    found = parsed(
        "<devices>",
        "<controller type='pci' index='0' model='pcie-root'/>",
        "<controller type='pci' index='4' model='pcie-root-port'>",
        "<address type='pci' bus='0x00' slot='0x1e'/></controller>",
        "<controller type='usb' index='9'/>",
        "<controller type='pci' index='x'/>",
        "<video><address type='pci' slot='0x02'/></video>",
        HOSTDEV.format(bus="06"),
        "<disk><address type='drive' bus='7'/></disk>",
        "</devices>",
    )
    assert found.buses == {0, 4, 5}
    assert found.slots == {2, 0x1E}


def test_numa_nodes() -> None:
    for nodeset, nodes in (
        ("0", {0}),
        ("0-3", {0, 1, 2, 3}),
        ("0-3,^2", {0, 1, 3}),
        ("0-3,^1-2", {0, 3}),
        (" 1 , 3 ", {1, 3}),
        ("2,^2,5", {5}),
    ):
        found = parsed(f"<numatune><memory nodeset='{nodeset}'/></numatune>")
        assert found.numa_nodes == frozenset(nodes), nodeset
    for free in (
        "",
        "<numatune/>",
        "<numatune><memory placement='auto'/></numatune>",
        "<numatune><memory nodeset=''/></numatune>",
    ):
        assert parsed(free).numa_nodes is None
    for wrong in ("x", "0-", "-1", "0,,1", "99999", "0x1", "3-1", "1,^1"):
        text = document(f"<numatune><memory nodeset='{wrong}'/></numatune>")
        assert f"{wrong!r}" in refused(text), wrong

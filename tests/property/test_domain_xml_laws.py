"""Laws of an operator's document: it comes back as it was, but for ours."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.attachment import GuestSlot, attached
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.model.address import Address

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"

blanks = st.sampled_from(["", "\n", "\n    ", "  ", "text <&> here", "é"])
names = st.sampled_from(
    ["disk", "hostdev", "video", f"{{{_QEMU}}}arg", "unknown", "{urn:x}y"]
)
keys = st.sampled_from(["a", "type", "index", f"{{{_QEMU}}}b"])
values = st.sampled_from(["", "1", "a'b\"c", "<&>", "é\n"])


@st.composite
def nodes(draw: st.DrawFn, depth: int = 0) -> etree._Element:
    kind = draw(st.sampled_from(["element", "element", "comment", "pi"]))
    made: etree._Element
    if kind == "comment":
        made = etree.Comment(draw(st.sampled_from(["", " note ", "<name/>"])))
    elif kind == "pi":
        made = etree.ProcessingInstruction("do", "this")
    else:
        made = etree.Element(
            draw(names), draw(st.dictionaries(keys, values, max_size=2))
        )
        made.text = draw(blanks)
        if depth < 2:
            made.extend(draw(st.lists(nodes(depth + 1), max_size=3)))
    made.tail = draw(blanks)
    return made


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    root = etree.Element("domain", nsmap={"qemu": _QEMU})
    root.text = draw(blanks)
    children = draw(st.lists(nodes(), max_size=4))
    name = etree.Element("name")
    name.text = "guest"
    children.insert(draw(st.integers(0, len(children))), name)
    if draw(st.booleans()):
        uuid = etree.Element("uuid")
        uuid.text = draw(st.sampled_from([_UUID, "", " "]))
        children.insert(draw(st.integers(0, len(children))), uuid)
    if draw(st.booleans()):
        devices = etree.Element("devices")
        devices.text = draw(blanks)
        devices.extend(draw(st.lists(nodes(), max_size=4)))
        devices.tail = draw(blanks)
        children.insert(draw(st.integers(0, len(children))), devices)
    root.extend(children)
    return etree.tostring(root)


addresses = st.builds(
    Address,
    st.integers(0, 0x10000),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)
places = st.lists(
    st.builds(
        GuestSlot,
        st.integers(0, 255),
        st.integers(0, 31),
        st.lists(addresses, min_size=1, max_size=8, unique=True).map(tuple),
    ),
    max_size=3,
).map(tuple)


def _without_ours(
    before: etree._Element, after: etree._Element, ours: int
) -> etree._Element:
    """The document after, less what ``attached`` says that it adds."""
    found = copy.deepcopy(after)
    devices = found.find("devices")
    assert devices is not None
    for element in list(devices)[len(devices) - ours :]:
        assert element.tag in ("hostdev", "controller")
        _remove(element)
    if before.find("devices") is None:
        assert len(devices) == 0
        _remove(devices)
    uuid = before.find("uuid")
    there = found.find("uuid")
    assert there is not None
    if uuid is None:
        _remove(there)
    elif not (uuid.text or "").strip():
        there.text = uuid.text
    return found


def _remove(element: etree._Element) -> None:
    """Take an element out, and the blank that was put before it."""
    parent = element.getparent()
    assert parent is not None
    before = element.getprevious()
    tail = element.tail
    parent.remove(element)
    if before is None:
        parent.text = tail
    else:
        before.tail = tail


def _shape(element: etree._Element) -> object:
    """All that it says; blanks alone at the end of a parent aside."""
    return (
        element.tag,
        sorted(element.attrib.items()),
        element.text or "",
        [(_shape(child), child.tail or "") for child in element],
    )


@given(documents(), places)
def test_all_but_what_is_added_is_as_it_was(
    text: bytes, places: tuple[GuestSlot, ...]
) -> None:
    parsed = domain_xml.parse(text, "guest.xml")
    after = etree.fromstring(attached(parsed, places).encode())
    before = etree.fromstring(text)
    ours = sum(len(p.functions) + bool(p.bus) for p in places)
    left = _without_ours(before, after, ours)
    assert _trimmed(left) == _trimmed(before)


def _trimmed(root: etree._Element) -> object:
    """The shape, less the line ends that a parent without any was given."""
    found = copy.deepcopy(root)
    for element in [found, *found.findall("devices")]:
        if len(element) and not (element[-1].tail or "").strip():
            element[-1].tail = ""
        elif not len(element) and not (element.text or "").strip():
            element.text = ""
    return _shape(found)


@given(documents(), places)
def test_the_functions_are_in_it_once_and_in_order(
    text: bytes, places: tuple[GuestSlot, ...]
) -> None:
    parsed = domain_xml.parse(text, "guest.xml")
    again = domain_xml.parse(attached(parsed, places).encode(), "guest.xml")
    added = [function for place in places for function in place.functions]
    own = parsed.host_functions.addresses
    every = tuple(dict.fromkeys((*own, *added)))
    assert again.host_functions.addresses == every
    assert again.host_functions.unreadable == parsed.host_functions.unreadable
    assert again.uuid == parsed.uuid
    assert again.name == parsed.name
    assert parsed.buses <= again.buses


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_domain_or_are_refused_in_one_line(
    text: bytes,
) -> None:
    try:
        domain_xml.parse(text, "guest.xml")
    except errors.Invalid as error:
        assert len(str(error).splitlines()) == 1

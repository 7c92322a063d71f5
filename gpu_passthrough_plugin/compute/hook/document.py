"""A domain's XML, as far as libvirt's hook has to know it.

Straight from expat, which takes next to no time to import.  What is not
plainly understood is refused: it may hide a function of the host.
"""

from __future__ import annotations

import pyexpat

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.guard import Guest

MOST_BYTES = 16 << 20
"""libvirt itself takes documents of 4 MiB; what it makes of one is longer.

Source: libvirt, src/remote/remote_protocol.x (REMOTE_STRING_MAX).
"""
# As libxml2, with which libvirt reads.  Source: libxml2, parserInternals.h
# (xmlParserMaxDepth).
_MOST_DEPTH = 256
_ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii"})
# The type of what hands over the function whose address is in its <source>:
# a device, or a part of one.
# Source: libvirt, formatdomain.html (host device assignment; PCI
# passthrough of host network devices; hard drives).
_NETWORK = "hostdev"
_DEVICES = {"hostdev": "pci", "interface": _NETWORK, "disk": "nvme"}
_PARTS = {
    "actual": _NETWORK,
    "backingStore": "nvme",
    "dataStore": "nvme",
    "mirror": "nvme",
}
_DEVICE_DEPTH = 3
# Each part's default is 0.  Source: libvirt, docs/schemas (pciaddress).
_BOUNDS = (
    ("domain", 0xFFFFFFFF),
    ("bus", 0xFF),
    ("slot", 0x1F),
    ("function", 7),
)
_QEMU_DEVICE = "vfio-pci"
_ADDRESS_LETTERS = frozenset("0123456789abcdef:.")


def guest(text: bytes, name: str) -> Guest:
    """What the domain of that name takes of the host.

    :raises Invalid: when that cannot be told.
    """
    if len(text) > MOST_BYTES:
        raise errors.Invalid(
            f"its XML is longer than {MOST_BYTES} bytes; wanted a libvirt"
            " domain"
        )
    # expat finds out by itself about UTF-16, which has zeros in it.
    if b"\0" in text:
        raise errors.Invalid("its XML has a zero byte; wanted it in UTF-8")
    reader = _Reader()
    try:
        reader.parser.Parse(text, True)
    except pyexpat.ExpatError as error:
        raise errors.Invalid(
            f"its XML cannot be read ({error}); wanted a libvirt domain in"
            " UTF-8"
        ) from error
    functions = reader.functions
    return Guest(name, _uuid(reader.uuid) if functions else "", functions)


class _Reader:
    """Goes along the document, and remembers where it is."""

    def __init__(self) -> None:
        self.functions: dict[str, bool] = {}
        self.uuid = ""
        self._path: list[str] = []
        self._attributes: list[dict[str, str]] = []
        self._text: list[str] | None = None
        parser = pyexpat.ParserCreate("UTF-8")
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        self.parser = parser

    def _declared(
        self, _version: str, encoding: str | None, _standalone: int
    ) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise errors.Invalid(
                f"its XML says that it is in {encoding!r}; wanted UTF-8"
            )

    def _begin(self, tag: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(tag)
        depth = len(path)
        if depth > _MOST_DEPTH:
            raise errors.Invalid(
                f"its XML is more than {_MOST_DEPTH} elements deep; wanted a"
                " libvirt domain"
            )
        if depth == 1 and tag != "domain":
            raise errors.Invalid(f"its XML is a <{tag}>; wanted a <domain>")
        if depth == 2 and tag == "uuid" and self._text is None:
            self._text = []
            self.parser.CharacterDataHandler = self._text.append
        elif depth == 3 and path[1].endswith("commandline"):
            self._argument(tag, attributes)
        elif tag == "address" and depth > 4 and path[1] == "devices":
            self._place(attributes)
        self._attributes.append(attributes)

    def _argument(self, tag: str, attributes: dict[str, str]) -> None:
        # The prefix is whatever the document bound to the name space.
        if tag.rpartition(":")[2] == "arg":
            for address in _in_argument(attributes.get("value", "")):
                self.functions[address] = False

    def _place(self, address: dict[str, str]) -> None:
        *_, tag, source, _ = self._path
        device, given = self._attributes[-2:]
        is_device = len(self._path) == _DEVICE_DEPTH + 2
        kind = (_DEVICES if is_device else _PARTS).get(tag)
        if source != "source" or kind is None or device.get("type") != kind:
            return
        if kind == _NETWORK and address.get("type") != "pci":
            return
        # Of a disk it is the source that says so.
        managed = given.get("managed", device.get("managed"))
        self.functions[_address(address)] = managed == "yes"

    def _end(self, _tag: str) -> None:
        if len(self._path) == 2 and self.parser.CharacterDataHandler:
            self.parser.CharacterDataHandler = None
            self.uuid = "".join(self._text or ())
        self._path.pop()
        self._attributes.pop()


def _refuse_doctype(*_: object) -> None:
    raise errors.Invalid(
        "its XML has a <!DOCTYPE>; wanted a libvirt domain, which has none"
    )


def _address(attributes: dict[str, str]) -> str:
    parts = []
    for name, most in _BOUNDS:
        text = attributes.get(name, "0")
        number = _number(text)
        if number is None or number > most:
            raise errors.Invalid(
                f"its XML has a PCI address whose {name} is {text[:40]!r};"
                f" wanted 0 to {most:#x}"
            )
        parts.append(number)
    # As the kernel writes it: another spelling would be another name.
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*parts)


def _number(text: str) -> int | None:
    """A number as C reads it: hexadecimal, octal or decimal."""
    digits, base = text.lower(), 10
    if digits.startswith("0x"):
        digits, base = digits[2:], 16
    elif digits.startswith("0") and len(digits) > 1:
        digits, base = digits[1:], 8
    if not (digits.isascii() and digits.isalnum()) or len(digits) > 16:
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def _in_argument(value: str) -> list[str]:
    """Functions that an argument of QEMU's own hands over.

    Source: libvirt, drvqemu.html (pass-through of arbitrary QEMU
    commands); qemu, hw/vfio/pci.c (host, sysfsdev).
    """
    lowered = value.lower()
    # What is below an mdev bus is no function of the host's.
    if _QEMU_DEVICE not in lowered or "/mdev" in lowered:
        return []
    words = "".join(c if c in _ADDRESS_LETTERS else " " for c in lowered)
    found = [a for a in map(_spelt, words.split()) if a]
    if not found:
        raise errors.Invalid(
            f"its XML gives QEMU the argument {value[:80]!r}, which names no"
            " function; wanted a <hostdev>"
        )
    return found


def _spelt(word: str) -> str:
    """The address that a word is; empty when it is none."""
    place, _, function = word.rpartition(".")
    parts = place.split(":")
    if len(parts) == 2:
        parts.insert(0, "0")
    if len(parts) != 3 or not function:
        return ""
    try:
        numbers = [int(part, 16) for part in (*parts, function)]
    except ValueError:
        return ""
    names = (name for name, _ in _BOUNDS)
    spelt = {n: hex(v) for n, v in zip(names, numbers, strict=True)}
    try:
        return _address(spelt)
    except errors.Invalid:
        return ""


def _uuid(text: str) -> str:
    """A UUID as every ledger keeps it, in lower case."""
    digits = text.strip().lower().replace("-", "")
    try:
        if len(digits) != 32 or not (digits.isascii() and digits.isalnum()):
            raise ValueError(digits)
        int(digits, 16)
    except ValueError as error:
        raise errors.Invalid(
            f"its XML has the UUID {text.strip()[:40]!r}; wanted one such as"
            " 5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
        ) from error
    return "-".join(
        (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    )

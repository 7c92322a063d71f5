"""The text format of umockdev's recordings: devices with their attributes.

Read by umockdev as here, with two exceptions.  A recording whose last line
has no end is refused here: it was cut off.  Lines that udevadm exports
besides, such as ``L: 0``, are ignored here, with a warning.

Source: umockdev 0.17, ``umockdev_testbed_add_from_string`` and
``umockdev-record``.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.reading import as_text, encoded

# Source: GLib, g_strescape and g_strcompress.
_LETTERS = {b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13}
_TO_ESCAPE = re.compile(rb"[^ !#-\[\]-~]")
_ESCAPED = re.compile(rb"\\([0-7]{1,3}|.|$)", re.DOTALL)
_ESCAPES = {
    **{bytes([n]): b"\\%03o" % n for n in range(256)},
    **{bytes([code]): b"\\" + char for char, code in _LETTERS.items()},
    b'"': b'\\"',
    b"\\": b"\\\\",
}


def escaped(value: bytes) -> bytes:
    """Return an attribute's contents as an ``A:`` line has them."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], value)


def unescaped(value: bytes) -> bytes:
    """Return the attribute's contents from an ``A:`` line.

    :raises ValueError: when the line ends in a single backslash.
    """
    return _ESCAPED.sub(_original, value)


def _original(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if not code:
        raise ValueError("ends in a single backslash")
    if code.isdigit() and code[0] < ord("8"):
        return bytes([int(code, 8) & 0xFF])
    return bytes([_LETTERS[code]]) if code in _LETTERS else code


class Kind(enum.StrEnum):
    """What a line after ``P:`` says about its device."""

    NODE = "N"
    PROPERTY = "E"
    SYMLINK = "S"
    ATTRIBUTE = "A"
    BINARY = "H"
    LINK = "L"


KEYED = frozenset({Kind.PROPERTY, Kind.ATTRIBUTE, Kind.BINARY, Kind.LINK})


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line: ``value`` is an attribute's contents, or the text.

    :param key: empty for ``N:`` and ``S:``.
    """

    kind: Kind
    key: str
    value: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A paragraph: a path that begins with ``/devices/``, and its lines."""

    path: str
    lines: tuple[Line, ...]

    def values(self, kind: Kind) -> dict[str, bytes]:
        """Return the values of the lines of one kind, by key."""
        return {ln.key: ln.value for ln in self.lines if ln.kind is kind}


def printed(devices: Iterable[Device]) -> bytes:
    """Return the text of a recording: an empty line after each device."""
    return b"".join(
        b"P: %s\n%s\n"
        % (encoded(device.path), b"".join(map(_printed_line, device.lines)))
        for device in devices
    )


def _printed_line(line: Line) -> bytes:
    if line.kind is Kind.ATTRIBUTE:
        value = escaped(line.value)
    elif line.kind is Kind.BINARY:
        value = line.value.hex().upper().encode()
    else:
        value = line.value
    key = encoded(line.key) + b"=" if line.kind in KEYED else b""
    return b"%s: %s%s\n" % (line.kind.encode(), key, value)


# Source: RFC 8878, section 3.1.1.
_ZSTD = b"\x28\xb5\x2f\xfd"
_MOST_FAULTS = 20
_KINDS = {f"{kind}: ": kind for kind in Kind}
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_NODE = re.compile(r"[^=]+(?:=[0-9A-F]+)?")
# A link's priority and others that ``udevadm info --export-db`` prints.
# Source: udevadm(8), OUTPUT FORMAT.
_FROM_UDEVADM = re.compile(rb"L: -?\d+|[MRUTDQVIJ]: .*")


class Recording(NamedTuple):
    """Devices in their order, and what makes the recording doubtful.

    :param unclosed: path of the last device, if no empty line follows it.
    """

    devices: tuple[Device, ...]
    warnings: tuple[str, ...]
    unclosed: str = ""


def parse(data: bytes, title: str) -> tuple[Device, ...]:
    """Return the devices of a recording, in its order.

    :raises ReadFailed: when it is not a recording.
    :raises Faults: with each fault and its line, when it is damaged.
    """
    return read(data, title).devices


def read(data: bytes, title: str) -> Recording:
    """Return the devices of a recording, and warnings.

    :param title: name of the recording in messages.
    :raises ReadFailed: when it is not a recording, or has more lines than
        are read.
    :raises Faults: with each fault and its line, when it is damaged.
    """
    if data.startswith(_ZSTD):
        raise errors.ReadFailed(
            f"{title} is not a recording but compressed, as a report is; read"
            " a report with 'gpu-passthrough host verify --report'"
        )
    if not data.startswith(b"P: /devices/"):
        start = f"it starts with {data[:20]!r}" if data else "it is empty"
        raise errors.ReadFailed(
            f"{title} is not a recording: {start}; expected umockdev's format,"
            " which starts with 'P: /devices/'"
        )
    count = data.count(b"\n")
    if count > budget.MAX_LINES:
        raise errors.ReadFailed(
            f"{title} has {count} lines; expected at most {budget.MAX_LINES}"
        )
    reader = _Reader(title)
    end = b"\n"
    # Editors of Windows end every line so.
    if data[: data.find(b"\n")].endswith(b"\r"):
        end = b"\r\n"
        reader.warnings.append(
            f"{title} has line ends of Windows (CR LF): read without CR;"
            " transfer recordings as binary files"
        )
    line = b""
    for number, line in enumerate(_lines(data), 1):
        reader.take(number, line.removesuffix(end))
    unclosed = reader.end(count + 1, b"" if line.endswith(b"\n") else line)
    return Recording(tuple(reader.devices), tuple(reader.warnings), unclosed)


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield each line with its end: a list of all takes much more memory."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


class _Reader:
    """The devices and faults of the lines read so far."""

    def __init__(self, title: str) -> None:
        self.devices: list[Device] = []
        self.warnings: list[str] = []
        self._title = title
        self._faults: list[str] = []
        self._fault_count = 0
        self._ignored: list[tuple[int, bytes]] = []
        self._path = ""
        self._start = 0
        self._lines: list[Line] = []
        self._keys: set[tuple[bool, str]] = set()
        self._seen: dict[str, int] = {}

    def take(self, number: int, line: bytes) -> None:
        if not line:
            self._close()
        elif line.startswith(b"P: "):
            self._open(number, line)
        elif not self._path:
            self._fault(number, line, "expected a line 'P: /devices/…' first")
        elif _FROM_UDEVADM.fullmatch(line):
            self._ignored.append((number, line))
        else:
            self._add(number, line)

    def end(self, number: int, rest: bytes) -> str:
        """Return the path of the last device if no empty line follows it.

        :param rest: the last line, if it has no end.
        :raises Faults: when any line was at fault.
        """
        unclosed = self._path
        if rest:
            self._fault(
                number,
                rest,
                f"the recording ends within a line of"
                f" {self._path or 'no device'}: copy the whole file again",
            )
        elif self._path:
            self.warnings.append(
                f"{self._title} has no empty line after its last device,"
                f" {self._path}: it may be cut off"
            )
            self._close()
        if self._ignored:
            first, line = self._ignored[0]
            count = len(self._ignored)
            others = "" if count == 1 else f" (1 of {count} such lines)"
            self.warnings.append(
                f"{self._title}, line {first}: {as_text(line[:40])!r}{others}"
                " is from udevadm; ignored"
            )
        more = self._fault_count - _MOST_FAULTS
        if more > 0:
            self._faults.append(f"and {more} more")
        if self._faults:
            raise errors.Faults(tuple(self._faults))
        return unclosed

    def _fault(self, number: int, line: bytes, text: str) -> None:
        self._fault_count += 1
        if self._fault_count <= _MOST_FAULTS:
            quoted = f"{as_text(line[:40])!r}: " if line else ""
            self._faults.append(
                f"{self._title}, line {number}: {quoted}{text}"
            )

    def _open(self, number: int, line: bytes) -> None:
        path = as_text(line[3:])
        if self._path:
            self._fault(number, line, "expected an empty line before it")
            self._close()
        self._path, self._start = path, number
        self._lines, self._keys = [], set()
        if not path.startswith("/devices/") or _climbs(path):
            self._fault(number, line, "expected a path below /devices/")
            # It is not kept, however long it is.
            self._path = path = path[: budget.MAX_PATH_BYTES]
        first = self._seen.setdefault(path, number)
        if first != number:
            self._fault(number, line, f"the same device as in line {first}")

    def _close(self) -> None:
        if not self._path:
            return
        device = Device(self._path, tuple(self._lines))
        if "SUBSYSTEM" not in device.values(Kind.PROPERTY):
            self._fault(
                self._start, b"", f"{self._path} has no line 'E: SUBSYSTEM='"
            )
        self.devices.append(device)
        self._path = ""

    def _add(self, number: int, line: bytes) -> None:
        try:
            parsed = _parsed_line(line)
        except ValueError as error:
            self._fault(number, line, str(error))
            return
        if parsed.kind in KEYED:
            key = parsed.kind is Kind.PROPERTY, parsed.key
            if key in self._keys:
                self._fault(number, line, "the same key twice in one device")
            self._keys.add(key)
        self._lines.append(parsed)


def _parsed_line(line: bytes) -> Line:
    """Return the line.

    :raises ValueError: with what was expected instead.
    """
    mark, rest = as_text(line[:3]), line[3:]
    kind = _KINDS.get(mark)
    if kind is None:
        kinds = ", ".join(f"{kind}:" for kind in Kind)
        raise ValueError(f"expected a line that starts with P:, {kinds}")
    if kind not in KEYED:
        if kind is Kind.NODE and not _NODE.fullmatch(as_text(rest)):
            raise ValueError("expected NAME or NAME=HEX")
        return Line(kind, "", rest)
    raw_key, equals, value = rest.partition(b"=")
    key = as_text(raw_key)
    if not key or not equals:
        raise ValueError("expected KEY=VALUE")
    if kind is not Kind.PROPERTY and _climbs(key):
        raise ValueError("expected a path inside its device")
    if kind is Kind.LINK and len(value) > budget.MAX_PATH_BYTES:
        raise ValueError(
            f"expected a target of at most {budget.MAX_PATH_BYTES} bytes"
        )
    return Line(kind, key, _decoded(kind, value))


def _decoded(kind: Kind, value: bytes) -> bytes:
    if kind is Kind.ATTRIBUTE:
        return unescaped(value)
    if kind is Kind.BINARY:
        digits = as_text(value)
        if not _HEX.fullmatch(digits):
            raise ValueError("expected pairs of hexadecimal digits")
        return bytes.fromhex(digits)
    return value


def _climbs(path: str) -> bool:
    """Whether a path leaves its folder, or is none that sysfs has."""
    if len(path) > budget.MAX_PATH_BYTES or path.count("/") > budget.MAX_DEPTH:
        return True
    return not {"..", "."}.isdisjoint(path.split("/")) or "//" in path

"""From umockdev's text to devices, or to everything that is wrong in it."""

from __future__ import annotations

import re

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.discovery.escapes import text, unescaped
from gpu_passthrough_plugin.discovery.grammar import (
    KEYED,
    Device,
    Kind,
    Line,
)

_MOST_FAULTS = 20
_KINDS = {f"{kind}: ": kind for kind in Kind}
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
_NODE = re.compile(r"[^=]+(?:=[0-9A-F]+)?")


def parse(data: bytes, title: str) -> tuple[Device, ...]:
    """The devices of a recording, in its order.

    :param title: what messages call it.
    :raises ReadFailed: when it is no recording at all.
    :raises Faults: with each fault and its line, when it is damaged.
    """
    if not data.startswith(b"P: /devices/"):
        raise errors.ReadFailed(
            f"{title} is no recording: it begins with {data[:20]!r};"
            " wanted umockdev's text, which begins with 'P: /devices/'"
        )
    reader = _Reader(title)
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        reader.take(number, line)
    reader.end(len(lines), lines[-1])
    return tuple(reader.devices)


class _Reader:
    """Devices and faults so far, of lines taken one after the other."""

    def __init__(self, title: str) -> None:
        self.devices: list[Device] = []
        self._title = title
        self._faults: list[str] = []
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
            self._fault(number, line, "wanted a line 'P: /devices/…' first")
        else:
            self._add(number, line)

    def end(self, number: int, rest: bytes) -> None:
        """Nothing may be open: umockdev-record ends with an empty line.

        :raises Faults: when there was any fault.
        """
        if rest or self._path:
            self._fault(
                number,
                rest,
                f"the recording breaks off in {self._path or 'a line'};"
                " wanted an empty line at its end: copy it anew, whole",
            )
        more = len(self._faults) - _MOST_FAULTS
        if more > 0:
            self._faults[_MOST_FAULTS:] = [f"and {more} more"]
        if self._faults:
            raise errors.Faults(tuple(self._faults))

    def _fault(self, number: int, line: bytes, wanted: str) -> None:
        found = f"{text(line[:40])!r}: " if line else ""
        self._faults.append(f"{self._title}, line {number}: {found}{wanted}")

    def _open(self, number: int, line: bytes) -> None:
        path = text(line[3:])
        if self._path:
            self._fault(number, line, "wanted an empty line before it")
            self._close()
        self._path, self._start = path, number
        self._lines, self._keys = [], set()
        if not path.startswith("/devices/") or _climbs(path):
            self._fault(number, line, "wanted a path below /devices/")
        first = self._seen.setdefault(path, number)
        if first != number:
            self._fault(number, line, f"is there already, in line {first}")

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
                self._fault(number, line, "is given twice for one device")
            self._keys.add(key)
        self._lines.append(parsed)


def _parsed_line(line: bytes) -> Line:
    """The line.

    :raises ValueError: with what was wanted instead.
    """
    mark, rest = text(line[:3]), line[3:]
    kind = _KINDS.get(mark)
    if kind is None:
        wanted = ", ".join(f"{kind}:" for kind in Kind)
        raise ValueError(f"wanted a line that begins with one of P:, {wanted}")
    if kind not in KEYED:
        if kind is Kind.NODE and not _NODE.fullmatch(text(rest)):
            raise ValueError("wanted NAME or NAME=HEX")
        return Line(kind, "", rest)
    raw_key, equals, value = rest.partition(b"=")
    key = text(raw_key)
    if not key or not equals:
        raise ValueError("wanted KEY=VALUE")
    if kind is not Kind.PROPERTY and _climbs(key):
        raise ValueError("wanted a path inside its device")
    return Line(kind, key, _decoded(kind, value))


def _decoded(kind: Kind, value: bytes) -> bytes:
    if kind is Kind.ATTRIBUTE:
        return unescaped(value)
    if kind is Kind.BINARY:
        digits = text(value)
        if not _HEX.fullmatch(digits):
            raise ValueError("wanted pairs of hexadecimal digits")
        return bytes.fromhex(digits)
    return value


def _climbs(path: str) -> bool:
    return not {"..", "."}.isdisjoint(path.split("/")) or "//" in path

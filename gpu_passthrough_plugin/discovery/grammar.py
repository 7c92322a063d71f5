"""umockdev's text format: devices with their attributes, line by line.

Source: umockdev 0.17, ``umockdev_testbed_add_from_string`` and
``umockdev-record``.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from gpu_passthrough_plugin.discovery import escapes
from gpu_passthrough_plugin.discovery.escapes import raw


class Kind(enum.StrEnum):
    """What a line below ``P:`` tells of its device."""

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
        """Values by key of the lines of one kind."""
        return {ln.key: ln.value for ln in self.lines if ln.kind is kind}


def printed(devices: Iterable[Device]) -> bytes:
    """The text of a recording, an empty line after each device."""
    return b"".join(
        b"P: %s\n%s\n"
        % (raw(device.path), b"".join(map(_printed_line, device.lines)))
        for device in devices
    )


def _printed_line(line: Line) -> bytes:
    if line.kind is Kind.ATTRIBUTE:
        value = escapes.escaped(line.value)
    elif line.kind is Kind.BINARY:
        value = line.value.hex().upper().encode()
    else:
        value = line.value
    key = raw(line.key) + b"=" if line.kind in KEYED else b""
    return b"%s: %s%s\n" % (line.kind.encode(), key, value)

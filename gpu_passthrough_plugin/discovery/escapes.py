"""How umockdev's text writes bytes."""

from __future__ import annotations

import re

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
    """An attribute's contents as they stand in an ``A:`` line."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], value)


def unescaped(value: bytes) -> bytes:
    """The contents that an ``A:`` line has.

    :raises ValueError: when it breaks off after a backslash.
    """
    return _ESCAPED.sub(_original, value)


def _original(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if not code:
        raise ValueError("breaks off after a backslash")
    if code.isdigit() and code[0] < ord("8"):
        return bytes([int(code, 8) & 0xFF])
    return bytes([_LETTERS[code]]) if code in _LETTERS else code


def text(data: bytes) -> str:
    """Bytes as text, so that ``raw`` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def raw(text: str) -> bytes:
    """Text as bytes."""
    return text.encode("utf-8", "surrogateescape")

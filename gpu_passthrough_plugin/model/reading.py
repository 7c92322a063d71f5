"""A value read from a host, or the reason why there is none."""

from __future__ import annotations

import enum
from typing import TypeVar

T = TypeVar("T")


class Why(enum.StrEnum):
    """Why a value is not known."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed"


class Unknown:
    """The reason why a value could not be read.

    It is a plain class, neither a tuple nor a dataclass: it must not be
    taken for a tuple of values, and importing dataclasses takes as long as
    listing a small host.

    :param why: missing, unreadable (``detail``: the system's error) or
        malformed (``detail``: the text that was found).
    """

    __slots__ = ("detail", "why")
    why: Why
    detail: str

    def __init__(self, why: Why, detail: str = "") -> None:
        object.__setattr__(self, "why", why)
        object.__setattr__(self, "detail", detail)

    def at(self, place: str) -> Unknown:
        """Return the same reason with the place that it is true of."""
        return Unknown(self.why, f"{place}: {self}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of an Unknown cannot be set")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unknown):
            return NotImplemented
        return (self.why, self.detail) == (other.why, other.detail)

    def __hash__(self) -> int:
        return hash((self.why, self.detail))

    def __repr__(self) -> str:
        return f"Unknown({self.why!r}, {self.detail!r})"

    def __str__(self) -> str:
        return f"{self.why} ({self.detail})" if self.detail else self.why


MISSING = Unknown(Why.MISSING)


def as_text(data: bytes) -> str:
    """Return the bytes as text; ``encoded`` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """Return the text of a file, without the newline at its end."""
    return as_text(data).rstrip("\n")


def encoded(text: str) -> bytes:
    """Return the bytes of what ``as_text`` returned."""
    return text.encode("utf-8", "surrogateescape")


def known(value: T | Unknown) -> T | None:
    """Return the value, or None where it is not known."""
    return None if isinstance(value, Unknown) else value


def shown(value: object) -> str:
    """Return the value as shown to the operator; ``unknown: …`` if so."""
    if isinstance(value, Unknown):
        return f"unknown: {value}"
    return "" if value is None else str(value)


def printable(text: str, keeps: str = "") -> str:
    """Return the text with every unprintable character escaped.

    Those that command a terminal (C0 and C1 controls), reorder or hide what
    is around them (bidirectional marks, zero-width and line separators), or
    stand for undecodable bytes.

    :param keeps: characters that stay as they are, such as a tab.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keeps else repr(char)[1:-1]
        for char in text
    )

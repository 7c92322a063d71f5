"""A value read from a host, or the reason why there is none."""

from __future__ import annotations

import dataclasses
import enum
from typing import TypeVar

T = TypeVar("T")


class Why(enum.StrEnum):
    """Why a value is not known."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed"


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be read: never the same as a good value.

    :param why: missing, unreadable (``detail``: the system's error) or
        malformed (``detail``: the text that was found).
    """

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.why} ({self.detail})" if self.detail else self.why


MISSING = Unknown(Why.MISSING)


def known(value: T | Unknown) -> T | None:
    """The value, or None where it is not known."""
    return None if isinstance(value, Unknown) else value


def shown(value: object) -> str:
    """The value as a person reads it; ``unknown: …`` where it is not."""
    if isinstance(value, Unknown):
        return f"unknown: {value}"
    return "" if value is None else str(value)

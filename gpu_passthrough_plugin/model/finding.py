"""One thing that was looked at, and how it was found."""

from __future__ import annotations

import dataclasses
import enum


class Status(enum.StrEnum):
    """How good it is."""

    PASS = "pass"  # noqa: S105 - a status, and no password
    WARN = "warn"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was found, and what helps.

    :param remedy: empty where nothing needs one.
    :param where: files and lines that it is about, if it is about any.
    """

    check: str
    status: Status
    detail: str
    remedy: str = ""
    where: str = ""

"""The result of one check."""

from __future__ import annotations

import dataclasses
import enum


class Status(enum.StrEnum):
    """Whether a check passed."""

    PASS = "pass"  # noqa: S105 - a status, and no password
    WARN = "warn"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what it showed, and what to do about it.

    :param remedy: empty where there is nothing to do.
    :param where: the files and lines that were checked; empty for none.
    """

    check: str
    status: Status
    detail: str
    remedy: str = ""
    where: str = ""

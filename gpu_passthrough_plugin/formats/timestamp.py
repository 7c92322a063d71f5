"""Points in time as people write them: RFC 3339, and ages such as ``2h``.

Source: RFC 3339 (date and time); systemd.time(7) for the units of an age.
"""

from __future__ import annotations

import datetime
import re

from gpu_passthrough_plugin import errors

EXPECTED = (
    "an age such as 90s, 30m, 2h, 7d or 4w, or a date and time in UTC such as"
    " 2026-11-30 or 2026-11-30T16:20:00Z"
)

_AGE = re.compile(r"([0-9]{1,9})\s?(s|m|h|d|w)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_LONGEST = 40


def shown(time_us: int) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond.

    :param time_us: microseconds since 1970.
    """
    time = _EPOCH + datetime.timedelta(microseconds=time_us)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_since(text: str, now_us: int) -> int:
    """Return the time that is meant, in microseconds since 1970.

    :param text: an age, or a date with or without a time; UTC unless it
        names another offset.
    :param now_us: what an age is counted back from.
    :raises Invalid: when it is neither, or before 1970.
    """
    words = text.strip()
    age = _AGE.fullmatch(words)
    if age:
        number, unit = age.groups()
        return max(0, now_us - int(number) * _SECONDS[unit] * 1_000_000)
    try:
        time = datetime.datetime.fromisoformat(words[:_LONGEST])
    except ValueError:
        time = None
    if time is None or not words[:4].isdecimal() or len(words) > _LONGEST:
        raise errors.not_valid("time", text, EXPECTED)
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.UTC)
    time_us = (time - _EPOCH) // _MICROSECOND
    if time_us < 0:
        raise errors.not_valid("time", text, EXPECTED)
    return time_us

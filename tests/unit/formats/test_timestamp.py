"""Times as RFC 3339 and ages, to and from microseconds."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.model.event import MAX_TIME_US

NOW_US = 1_796_000_000_000_000
HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("time_us", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_796_055_600_123_456, "2026-11-30T16:20:00.123Z"),
        (MAX_TIME_US, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_as_text(time_us: int, text: str) -> None:
    assert timestamp.shown(time_us) == text
    assert timestamp.parse_since(text, 0) == time_us // 1000 * 1000


@pytest.mark.parametrize(
    ("text", "ago_us"),
    [
        ("90s", HOUR_US // 40),
        ("30m", HOUR_US // 2),
        ("2h", 2 * HOUR_US),
        (" 2 h ", 2 * HOUR_US),
        ("7d", 7 * 24 * HOUR_US),
        ("4w", 28 * 24 * HOUR_US),
        ("0s", 0),
        ("999999999w", NOW_US),
    ],
)
def test_an_age(text: str, ago_us: int) -> None:
    assert timestamp.parse_since(text, NOW_US) == NOW_US - ago_us


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-30", "2026-11-30T00:00:00.000Z"),
        ("2026-11-30 16:20", "2026-11-30T16:20:00.000Z"),
        ("2026-11-30T16:20:01", "2026-11-30T16:20:01.000Z"),
        ("2026-11-30T16:20:01Z", "2026-11-30T16:20:01.000Z"),
        ("2026-11-30T16:20:01.5+02:00", "2026-11-30T14:20:01.500Z"),
    ],
)
def test_a_date_is_of_utc_unless_it_says_otherwise(
    text: str, shown: str
) -> None:
    assert timestamp.shown(timestamp.parse_since(text, NOW_US)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2",
        "-2h",
        "2h30m",
        "1.5h",
        "2y",
        "1234567890s",
        "٣h",
        "2026-13-01",
        "2026-11-30T25:00",
        "1969-12-31",
        "0001-01-01T00:00:00+23:59",
        "2026-11-30" + "T" * 50,
        "2026-11-30T16:20:00" + "0" * 100_000,
    ],
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(errors.Invalid, match=r"time .* is not valid"):
        timestamp.parse_since(text, NOW_US)

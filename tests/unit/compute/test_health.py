"""What makes a function suspect, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_passthrough_plugin.compute.health import (
    HealthLimits,
    is_slower,
    judge,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function_health import (
    NO_LINK,
    AerCounters,
    FunctionHealth,
    Link,
    LinkMaximum,
)
from gpu_passthrough_plugin.model.reading import Unknown, Why

GPU = address.parse("06:00.0")
LOST = Unknown(Why.UNREADABLE, "Input/output error")
NO_LIMIT = HealthLimits()
# A card that may have 16 lanes of 32 GT/s, in a slot with 8 of 16 GT/s.
FULL = Link(16.0, 8, 32.0, 16)


def counted(**by_kind: int) -> AerCounters:
    return AerCounters(by_kind, sum(by_kind.values()))


def health(**values: Any) -> FunctionHealth:
    good: dict[str, Any] = {
        "link": FULL,
        "port": LinkMaximum(16.0, 8),
        "power_state": "D0",
        "runtime_status": "active",
        "is_dead": False,
        "correctable": counted(RxErr=2, BadTLP=0),
        "nonfatal": counted(UnsupReq=1, CmpltTO=0),
        "fatal": counted(DLP=0),
    }
    return FunctionHealth(**(good | values))


def judged(
    after: FunctionHealth,
    before: FunctionHealth | None = None,
    limits: HealthLimits = NO_LIMIT,
    *,
    is_retrained: bool = False,
) -> tuple[str, ...]:
    return judge(
        {GPU: before or health()},
        {GPU: after},
        limits,
        is_retrained=is_retrained,
    )


@pytest.mark.parametrize(
    "after",
    [
        health(),
        # An idle card, which a driver or its firmware slowed down.
        health(link=Link(2.5, 8, 32.0, 16)),
        health(nonfatal=counted(UnsupReq=900, CmpltTO=0)),
        health(nonfatal=AerCounters({"Unsupported Request": 9}, 9)),
        health(correctable=counted(RxErr=90_000, BadTLP=7)),
        health(power_state="D3hot", runtime_status="suspended"),
        health(power_state="D3cold", runtime_status="suspended"),
        health(power_state="unknown"),
        health(link=NO_LINK),
        health(
            link=Link(LOST, LOST, LOST, LOST),
            port=None,
            power_state=LOST,
            runtime_status=LOST,
            correctable=LOST,
            nonfatal=LOST,
            fatal=LOST,
        ),
        health(correctable=None, nonfatal=None, fatal=None),
    ],
)
def test_what_is_no_evidence(after: FunctionHealth) -> None:
    assert judged(after) == ()
    # Nor the other way round, whatever was known before.
    assert judged(health(), after) == ()


def only(lines: tuple[str, ...]) -> str:
    (line,) = lines
    assert line.startswith(f"{GPU} ")
    return line


def test_more_lanes_than_before_are_no_fault() -> None:
    assert judged(health(link=Link(16.0, 16, 32.0, 16))) == ()


def test_lanes_that_are_gone() -> None:
    line = only(judged(health(link=Link(16.0, 4, 32.0, 16))))
    assert "4 lanes" in line and "had 8" in line
    assert "both ends support 16.0 GT/s x8" in line
    line = only(judged(health(link=Link(16.0, 4))))
    assert "support" not in line
    lone = health(link=Link(16.0, 4, 32.0, 16), port=None)
    assert "both ends support 32.0 GT/s x16" in only(judged(lone))
    assert "no link" in only(judged(health(link=Link(LOST, 0, 32.0, 16))))


def test_a_slower_link_counts_only_after_a_reset_of_its_bus() -> None:
    slow = health(link=Link(8.0, 8, 32.0, 16))
    assert judged(slow) == ()
    line = only(judged(slow, is_retrained=True))
    assert "8.0 GT/s" in line and "had 16.0 GT/s" in line
    assert judged(health(), slow, is_retrained=True) == ()
    assert is_slower({GPU: health()}, {GPU: slow})
    assert not is_slower({GPU: slow}, {GPU: health()})
    assert not is_slower({}, {GPU: slow})


def test_errors_that_nothing_corrected() -> None:
    line = only(judged(health(fatal=counted(DLP=2))))
    assert "fatal" in line and "DLP 2" in line
    line = only(judged(health(nonfatal=counted(UnsupReq=9, CmpltTO=1))))
    assert "nonfatal" in line and "CmpltTO 1" in line
    assert "UnsupReq" not in line


def test_corrected_errors_above_the_limit_of_an_operator() -> None:
    limits = HealthLimits(10)
    at = health(correctable=counted(RxErr=12, BadTLP=0))
    above = health(correctable=counted(RxErr=12, BadTLP=1))
    assert judged(at, limits=limits) == ()
    assert "11 correctable" in only(judged(above, limits=limits))


def test_a_function_that_was_found_again_counts_from_0() -> None:
    before = health(fatal=counted(DLP=5, SDES=3))
    assert judged(health(fatal=counted(DLP=0, SDES=0)), before) == ()
    line = only(judged(health(fatal=counted(DLP=1, SDES=0)), before))
    assert "DLP 1" in line


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"is_dead": True}, "ff"),
        ({"runtime_status": "error"}, "suspended"),
        ({"power_state": "D3cold"}, "D3cold"),
    ],
)
def test_what_counts_whatever_was_before(
    values: dict[str, Any], text: str
) -> None:
    after = health(**values)
    assert text in only(judge({}, {GPU: after}, NO_LIMIT))
    assert text in only(judged(after))


def test_without_what_was_before_nothing_grew() -> None:
    after = health(fatal=counted(DLP=9), link=Link(2.5, 1, 32.0, 16))
    assert judge({}, {GPU: after}, HealthLimits(0), is_retrained=True) == ()

"""Units that may be about to fail, and when one is checked again: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.observation import Observation
from gpu_passthrough_plugin.model.event import Event
from gpu_passthrough_plugin.model.unit import (
    CHECK_PASSED,
    State,
    UnitRecord,
    is_failed_check,
    is_suspect_reason,
)

_HOUR_US = 3_600_000_000
# After a check that failed, the next is an hour later, then four, then 16.
_FIRST_US, _GROWTH, _MOST_CHECKS = _HOUR_US, 4, 4
# A unit that is suspect again so soon after it passed is left to a person.
_SOON_US = 7 * 24 * _HOUR_US


def suspects(observed: Observation) -> Iterator[Finding]:
    """Yield units that are suspect, and those that have become so.

    A free one is quarantined; one that a consumer has is reported, and
    judged again when it is released.
    """
    for record in observed.listing.records:
        key = record.unit.key
        evidence = observed.suspicions.get(key)
        if record.is_suspect:
            yield _quarantined(record, is_due=key in observed.due_checks)
        elif evidence and record.state is State.FREE:
            yield Finding(
                Case.SUSPECT,
                str(key),
                "; ".join(evidence),
                Act.SUSPECT,
                units=(key,),
            )
        elif evidence and record.state.is_held:
            yield Finding(
                Case.SUSPECT,
                str(key),
                f"{'; '.join(evidence)}; it is {record.state} for"
                f" {record.consumer}",
                remedy="release the instance when that suits: its unit is"
                " reset and judged then",
            )


def _quarantined(record: UnitRecord, *, is_due: bool) -> Finding:
    key = record.unit.key
    if is_due:
        return Finding(
            Case.SUSPECT, str(key), record.reason, Act.CHECK, units=(key,)
        )
    return Finding(
        Case.SUSPECT,
        str(key),
        record.reason,
        remedy="look at the device; then run 'gpu-passthrough unit check"
        f" {key} --clear', or 'gpu-passthrough unit clear {key}'",
    )


def is_check_due(events: Sequence[Event], now_us: int) -> bool:
    """Return whether a suspect unit is to be checked now.

    Once; after a failure, again after a while that grows; and not at all
    where it passed not long ago.

    :param events: of the unit, oldest first.
    """
    failures: list[int] = []
    passed_us = None
    for event in events:
        transition = event.transition
        if transition.after == State.FREE:
            failures = []
            if transition.reason.startswith(CHECK_PASSED):
                passed_us = event.time_us
        elif is_suspect_reason(transition.reason):
            if is_failed_check(transition.reason):
                failures.append(event.time_us)
            elif passed_us is not None and (
                event.time_us - passed_us < _SOON_US
            ):
                return False
    if not failures:
        return True
    if len(failures) >= _MOST_CHECKS:
        return False
    pause_us: int = _FIRST_US * _GROWTH ** (len(failures) - 1)
    # Also where the clock was set back since.
    return abs(now_us - failures[-1]) >= pause_us

"""Suspect units in a pass, and when they are checked again."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.agent.reconcile import reconcile
from gpu_passthrough_plugin.agent.suspect_units import is_check_due
from gpu_passthrough_plugin.model.event import Actor, Event, Transition
from gpu_passthrough_plugin.model.unit import (
    CHECK_PASSED,
    State,
    failed_check_reason,
    suspect_reason,
)
from tests.unit.agent.build import (
    ADA,
    ONE,
    guest,
    observation,
    record,
)

EVIDENCE = ("0000:06:00.0 has 4 lanes, and had 16 before",)
REASON = suspect_reason(EVIDENCE)
HOUR_US = 3_600_000_000


def test_a_free_unit_is_quarantined_and_a_held_one_reported() -> None:
    seen = {ONE.key: EVIDENCE}
    free = observation(record(ONE), units=(ONE,))
    (finding,) = reconcile(dataclasses.replace(free, suspicions=seen))
    assert (finding.case, finding.act) == (Case.SUSPECT, Act.SUSPECT)
    assert finding.units == (ONE.key,)
    assert EVIDENCE[0] in finding.detail
    held = observation(
        record(ONE, State.ACTIVE, ADA), guests=(guest(ADA, ONE),), units=(ONE,)
    )
    (finding,) = reconcile(dataclasses.replace(held, suspicions=seen))
    assert (finding.case, finding.act) == (Case.SUSPECT, Act.NONE)
    assert finding.waits_for_person and ADA in finding.detail


def test_a_suspect_unit_waits_for_a_person_or_its_check() -> None:
    suspect = observation(
        record(ONE, State.QUARANTINED, reason=REASON), units=(ONE,)
    )
    (finding,) = reconcile(suspect)
    assert (finding.case, finding.act) == (Case.SUSPECT, Act.NONE)
    assert f"unit check {ONE.key} --clear" in finding.remedy
    due = dataclasses.replace(suspect, due_checks=frozenset({ONE.key}))
    (finding,) = reconcile(due)
    assert (finding.act, finding.units) == (Act.CHECK, (ONE.key,))


def test_any_other_quarantine_is_no_suspicion() -> None:
    other = record(ONE, State.QUARANTINED, reason="it is suspect: says who")
    (finding,) = reconcile(observation(other, units=(ONE,)))
    assert finding.case is Case.QUARANTINED


FAILED = failed_check_reason(REASON, "reset: refused")
PASSED = f"{CHECK_PASSED}: responds as before"
Told = tuple[int, State, str]


def events(*told: Told) -> tuple[Event, ...]:
    return tuple(
        Event(
            hour * HOUR_US,
            Transition("h", "0000:01:00.0", "", str(state), 1, None, reason),
            "",
            Actor(),
        )
        for hour, state, reason in told
    )


QUARANTINED, FREE = State.QUARANTINED, State.FREE


@pytest.mark.parametrize(
    ("told", "now", "is_due"),
    [
        ([], 1, True),
        ([(0, QUARANTINED, REASON)], 0, True),
        ([(0, QUARANTINED, REASON), (1, QUARANTINED, FAILED)], 1, False),
        ([(0, QUARANTINED, REASON), (1, QUARANTINED, FAILED)], 2, True),
        ([(1, QUARANTINED, FAILED), (2, QUARANTINED, FAILED)], 5, False),
        ([(1, QUARANTINED, FAILED), (2, QUARANTINED, FAILED)], 6, True),
        # After four failures, only a person goes on.
        ([(n, QUARANTINED, FAILED) for n in range(4)], 999, False),
        # The clock was set back.
        ([(50, QUARANTINED, FAILED)], 1, True),
        # It passed, and is suspect again within a week, or later.
        ([(0, FREE, PASSED), (10, QUARANTINED, REASON)], 10, False),
        ([(0, FREE, PASSED), (200, QUARANTINED, REASON)], 200, True),
        # A person freed it since.
        (
            [(n, QUARANTINED, FAILED) for n in range(4)]
            + [(5, FREE, ""), (6, QUARANTINED, REASON)],
            6,
            True,
        ),
    ],
)
def test_when_a_check_is_due(told: list[Told], now: int, is_due: bool) -> None:
    assert is_check_due(events(*told), now * HOUR_US) is is_due


def test_a_second_failure_replaces_the_first() -> None:
    again = failed_check_reason(FAILED, "bind: refused")
    assert again == failed_check_reason(REASON, "bind: refused")

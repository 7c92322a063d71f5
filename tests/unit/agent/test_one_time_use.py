"""What is done about devices that Nova used once."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.agent.observation import Observation, RunningGuest
from gpu_passthrough_plugin.agent.one_time_use import WaitingDevices, finding
from gpu_passthrough_plugin.model.function import VFIO, Binding, Rebind
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State
from tests.unit.agent.build import (
    ADA,
    BOB,
    ONE,
    SILENT,
    TWO,
    guest,
    observation,
    record,
)

NAME = "compute1_0000:01:00.0"
WAITING = WaitingDevices((NAME,), ONE)


def test_what_nothing_has_is_recycled() -> None:
    observed = observation(
        record(ONE), record(TWO, State.ACTIVE, ADA), guests=(guest(ADA, TWO),)
    )
    found = finding(observed, WAITING)
    assert (found.case, found.act) == (Case.ONE_TIME_USE, Act.RECYCLE)
    assert found.subject == str(ONE.key)
    assert NAME in found.detail and not found.waits_for_person


HELD = Instance(
    ADA,
    phase=Phase.ACTIVE,
    rebinds=tuple(
        Rebind(function.address, Binding(None, None), VFIO)
        for function in ONE.functions
    ),
)


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        (observation(record(ONE, State.ACTIVE, ADA)), f"active ({ADA})"),
        (
            observation(record(ONE, State.QUARANTINED, reason="it hums")),
            "quarantined (it hums)",
        ),
        (observation(record(ONE), instances=[HELD]), f"for instance {ADA}"),
        (observation(record(ONE), guests=SILENT), str(SILENT)),
        (observation(record(ONE), guests=(guest(BOB, ONE),)), f"guest {BOB}"),
        (
            observation(record(ONE), guests=(RunningGuest(BOB, "b", None),)),
            f"guest {BOB} cannot be read",
        ),
    ],
)
def test_what_something_may_have_stays(
    observed: Observation, reason: str
) -> None:
    found = finding(observed, WAITING)
    assert found.act is Act.NONE
    assert reason in found.detail
    # It ends by itself, or another finding waits for a person.
    assert not found.waits_for_person


def test_what_was_not_clean_is_recycled_later() -> None:
    """The journal keeps the drivers that the functions go back to."""
    kept = dataclasses.replace(HELD, phase=Phase.QUARANTINED)
    found = finding(observation(record(ONE), instances=[kept]), WAITING)
    assert found.act is Act.RECYCLE


def test_what_cannot_be_recycled_waits_for_a_person() -> None:
    observed = observation(record(ONE))
    found = finding(observed, WAITING._replace(why_left="it is offered"))
    assert found.waits_for_person and "it is offered" in found.detail
    found = finding(observed, WaitingDevices((NAME,), None, "no group"))
    assert found.waits_for_person and found.subject == NAME

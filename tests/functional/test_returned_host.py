"""A host that was marked as lost is in step before it is offered again."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.flow.agent import Outcome, Result, UnitCache
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.model.event import EventQuery
from tests.functional.acts import Acts, Crash
from tests.functional.test_agent import GONE, power_off, summary
from tests.functional.world import HOST, World, guest, wanted

MARK = "lost: its agent has not answered since 2026-11-30T16:20:00.000Z"
LIFTED = (Case.HOST_LOST, Act.UNCORDON, Result.DONE)


def a_pass(
    world: World, acts: Acts | None = None, *, is_away: bool = False
) -> list[tuple[Case, Act, Result]]:
    return summary(outcomes(world, acts, is_away=is_away))


def outcomes(
    world: World, acts: Acts | None = None, *, is_away: bool = False
) -> tuple[Outcome, ...]:
    return agent.run(world.context(acts), UnitCache(), is_away=lambda: is_away)


def cordon(world: World) -> str:
    record = world.ledger.host(HOST)
    assert record is not None
    return record.reason


def test_what_its_guests_left_is_released_first(world: World) -> None:
    """The events have it in that order."""
    before = world.snapshot()
    boot(world.context(), guest(), wanted("gpu:2"))
    power_off(world)
    world.ledger.cordon(HOST, MARK)
    assert a_pass(world) == [GONE, LIFTED]
    assert (cordon(world), world.snapshot()) == ("", before)
    events = world.ledger.events(EventQuery(HOST)).events
    afters = [event.transition.after for event in events]
    assert afters.index("offered") > max(
        place for place, after in enumerate(afters) if after == "sanitising"
    )
    assert a_pass(world) == []


def test_a_pass_that_fails_leaves_it_cordoned(world: World) -> None:
    boot(world.context(), guest(), wanted())
    power_off(world)
    world.ledger.cordon(HOST, MARK)
    failing = Acts(fail_at=1)
    done = a_pass(world, failing)
    assert LIFTED not in done
    assert cordon(world) == MARK
    assert a_pass(world)[-1] == LIFTED


@pytest.mark.parametrize("number", range(1, 12))
def test_killed_anywhere_it_is_offered_by_a_later_pass(
    world: World, number: int
) -> None:
    before = world.snapshot()
    boot(world.context(), guest(), wanted())
    power_off(world)
    world.ledger.cordon(HOST, MARK)
    acts = Acts(crash_at=number)
    try:
        a_pass(world, acts)
    except Crash:
        # Nothing is offered that was not reset.
        assert cordon(world) == MARK
    a_pass(world)
    assert (cordon(world), world.snapshot()) == ("", before)


def test_the_cordon_of_an_operator_is_not_lifted(world: World) -> None:
    world.ledger.cordon(HOST, "lost its fans")
    assert a_pass(world) == []
    assert cordon(world) == "lost its fans"


def test_outside_of_the_group_it_stays_cordoned(world: World) -> None:
    world.ledger.cordon(HOST, MARK)
    (left,) = outcomes(world, is_away=True)
    assert left.waits_for_person
    assert "inventory uncordon" in left.finding.remedy
    assert cordon(world) == MARK


def test_a_dry_pass_lifts_nothing(world: World) -> None:
    world.ledger.cordon(HOST, MARK)
    (planned,) = agent.run(world.context(), UnitCache(), is_dry=True)
    assert planned.result is Result.PLANNED
    assert cordon(world) == MARK


def fans(world: World) -> None:
    world.ledger.cordon(HOST, "new fans")


def test_an_operator_who_was_faster_is_not_overruled(world: World) -> None:
    """Between the look at the cordon and its lifting."""
    world.ledger.cordon(HOST, MARK)
    faster = Acts(before=lambda _: fans(world))
    (outcome,) = outcomes(world, faster)
    assert outcome.result is Result.FAILED
    assert cordon(world) == "new fans"
    with pytest.raises(errors.NoValidHost):
        world.ledger.claim(wanted(), "aaaaaaaa-0000-4000-8000-000000000001")

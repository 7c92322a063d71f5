"""A domain that is attached, and an older ledger with other units for it."""

from __future__ import annotations

from gpu_passthrough_plugin.agent.finding import Act, Case
from gpu_passthrough_plugin.flow import release
from gpu_passthrough_plugin.flow.agent import Result
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.unit import State
from tests.functional.test_agent import one_pass
from tests.functional.test_attach import FIRST, FREED, attached, define
from tests.functional.world import UUID, World, refused


def test_a_person_gives_up_the_older_claim(world: World) -> None:
    define(world)
    attached(world.context())
    assert "detach" in refused(release.withdraw, world.context(), UUID)
    (record,) = world.ledger.allocation(UUID).units
    assert record.unit.key == FREED
    for state in (State.PREPARING, State.RELEASING, State.SANITISING):
        record = world.ledger.move(record, state)
    world.ledger.move(record, State.FREE)
    world.ledger.claim_units([FIRST], UUID, HOOK_REQUEST)
    told = [
        (Case.LEDGER_BEHIND, Act.NONE, Result.LEFT),
        (Case.CLAIM_WITHOUT_GUEST, Act.NONE, Result.LEFT),
    ]
    assert one_pass(world) == told
    assert one_pass(world) == told
    # What the findings advise.
    release.withdraw(world.context(), UUID)
    assert (Case.LEDGER_BEHIND, Act.RECORD, Result.DONE) in one_pass(world)
    (record,) = world.ledger.allocation(UUID).units
    assert record.unit.key == FREED
    assert one_pass(world) == []

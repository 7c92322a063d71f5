"""The rules find each kind of what should not be, planted in a history."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin.model.unit import State
from tests.functional.faults import history, past, verdict
from tests.functional.faults.history import Act, Operation, Outcome, Sight

ADA, BOB = "ada", "bob"
ONE, TWO = "h/1", "h/2"


def free(unit: str, generation: int = 1) -> Sight:
    return Sight(unit, generation, State.FREE, None)


def claimed(unit: str, consumer: str = ADA, generation: int = 2) -> Sight:
    return Sight(unit, generation, State.CLAIMED, consumer)


def operation(
    act: Act, at: int, *sights: Sight, ended: int | None = None
) -> Operation:
    """One that was answered, an instant after it was asked."""
    return Operation(
        name=f"of {at}",
        act=act,
        begun_ns=at * 10,
        ended_ns=(at * 10 if ended is None else ended * 10) + 5,
        outcome=Outcome.OK,
        sights=sights,
    )


def claim(
    at: int,
    *sights: Sight,
    consumer: str = ADA,
    count: int | None = None,
    outcome: Outcome = Outcome.OK,
    ended: int | None = None,
) -> Operation:
    return dataclasses.replace(
        operation(Act.CLAIM, at, *sights, ended=ended),
        consumer=consumer,
        request=f"gpu:{len(sights) if count is None else count}",
        outcome=outcome,
    )


def move(
    at: int,
    before: Sight,
    state: State,
    outcome: Outcome = Outcome.OK,
) -> Operation:
    """One by a client that was told that the unit is so."""
    is_over = state in (State.FREE, State.QUARANTINED)
    after = before._replace(
        generation=before.generation + 1,
        state=state,
        consumer=None if is_over else before.consumer,
    )
    sights = (after,) if outcome is Outcome.OK else ()
    return dataclasses.replace(
        operation(Act.MOVE, at, *sights),
        before=before,
        state=state,
        outcome=outcome,
    )


def publish(at: int, *units: str, group: int = 1) -> Operation:
    return dataclasses.replace(
        operation(Act.PUBLISH, at),
        host="h",
        shown=dict.fromkeys(units, group),
    )


def read(at: int, *sights: Sight) -> Operation:
    return operation(Act.READ, at, *sights)


def found(*operations: Operation, after: past.After = past.by_one) -> str:
    """The violations, where the last operation read everything."""
    *told, end = operations
    return "\n".join(verdict.violations(told, end, after))


def test_a_life_is_in_order() -> None:
    held = claimed(ONE)
    let_go = free(ONE, 3)
    assert not found(
        publish(0, ONE, TWO),
        read(1, free(ONE), free(TWO)),
        claim(2, held),
        claim(3, held),
        move(4, held, State.FREE),
        move(5, held, State.PREPARING, Outcome.CONFLICT),
        claim(
            6, claimed(ONE, BOB, 4), claimed(TWO, BOB), consumer=BOB, ended=8
        ),
        read(7, let_go, free(TWO)),
        read(9, claimed(ONE, BOB, 4), claimed(TWO, BOB)),
    )


def test_what_was_not_answered_may_have_been_or_not() -> None:
    lost = claim(1, count=2, outcome=Outcome.UNKNOWN)
    assert not found(lost, read(2, free(ONE), free(TWO)))
    assert not found(lost, read(2, claimed(ONE), claimed(TWO)))
    held = claimed(ONE)
    lost = move(2, held, State.PREPARING, Outcome.UNKNOWN)
    prepared = Sight(ONE, 3, State.PREPARING, ADA)
    assert not found(claim(1, held), lost, read(3, held))
    assert not found(claim(1, held), lost, read(3, prepared))


def test_half_of_an_unanswered_claim() -> None:
    lost = claim(1, count=2, outcome=Outcome.UNKNOWN)
    assert "asked for 2 and has 1" in found(
        lost, read(2, claimed(ONE), free(TWO))
    )


def test_half_of_an_answered_claim() -> None:
    assert "asked for 2 and has 1" in found(
        claim(1, claimed(ONE), count=2), read(2, claimed(ONE))
    )


def test_half_of_a_claim_while_nobody_let_go_yet() -> None:
    both = claimed(ONE), claimed(TWO)
    freed = move(3, claimed(TWO), State.FREE)
    told = found(
        claim(1, *both),
        read(2, claimed(ONE), free(TWO, 3)),
        freed,
        read(4, claimed(ONE), free(TWO, 3)),
    )
    assert "asked for 2 and has 1" in told
    assert "seen by read of 4" not in told


def test_more_than_was_asked_for() -> None:
    assert "asked for 1 and has 2" in found(
        claim(1, claimed(ONE)),
        claim(2, claimed(TWO), count=1),
        read(3, claimed(ONE), claimed(TWO)),
    )


def test_units_of_two_hosts() -> None:
    both = claimed(ONE), claimed("other/1")
    assert "units of two hosts" in found(claim(1, *both), read(2, *both))


def test_a_consumer_that_nobody_claimed_for() -> None:
    assert "nobody claimed for bob" in found(read(1, claimed(ONE, BOB)))


def test_two_owners_at_one_generation() -> None:
    told = found(
        claim(1, claimed(ONE), ended=3),
        claim(2, claimed(ONE, BOB), consumer=BOB, ended=3),
        read(4, claimed(ONE)),
    )
    assert "two stories: h/1 claimed at 2 with ada" in told
    assert "made twice" in told


def test_two_owners_one_after_the_other() -> None:
    told = found(
        claim(1, claimed(ONE)),
        claim(2, claimed(ONE, BOB, 4), consumer=BOB),
        read(3, claimed(ONE, BOB, 4)),
    )
    assert "two owners" in told
    assert "nobody made h/1 at 3" in told


def test_an_owner_that_let_go_is_none() -> None:
    held = claimed(ONE)
    assert not found(
        claim(1, held),
        move(2, held, State.FREE, Outcome.UNKNOWN),
        claim(3, claimed(ONE, BOB, 4), consumer=BOB),
        read(4, claimed(ONE, BOB, 4)),
    )


def test_a_step_that_no_life_has() -> None:
    clean = Sight(ONE, 3, State.SANITISING, ADA)
    assert "no step of a life" in found(
        claim(1, claimed(ONE)), read(2, clean), read(3, clean)
    )


def test_a_quarantine_for_another_reason() -> None:
    locked = Sight(ONE, 2, State.QUARANTINED, None)
    again = locked._replace(generation=3)
    assert not found(
        publish(0, ONE),
        move(1, free(ONE), State.QUARANTINED),
        move(2, locked, State.QUARANTINED),
        read(3, again),
    )


def by_two(generation: int) -> tuple[int, ...]:
    """As in Placement: a claim counts on by half of what a move does."""
    passed = (generation + 2,) if generation % 2 else ()
    return (generation + 1, *passed)


def test_a_ledger_whose_moves_count_by_two() -> None:
    prepared = Sight(ONE, 3, State.PREPARING, ADA)
    locked = Sight(TWO, 3, State.QUARANTINED, None)
    told = (
        publish(0, ONE, TWO),
        read(1, free(ONE), free(TWO)),
        claim(2, claimed(ONE)),
        move(3, claimed(ONE), State.PREPARING),
        move(4, free(TWO), State.QUARANTINED, Outcome.UNKNOWN),
        read(5, prepared, locked),
    )
    assert "nobody made h/2" in found(*told)
    assert not found(*told, after=by_two)
    # What no life has, it has by no stride.
    clean = Sight(ONE, 5, State.FREE, None)
    for state in (State.SANITISING, State.FREE):
        wrong = clean._replace(state=state)
        assert "no step of a life" in found(
            *told, read(6, wrong), read(7, wrong), after=by_two
        )


def test_a_hold_that_changed_hands() -> None:
    taken = Sight(ONE, 3, State.PREPARING, BOB)
    assert "no step of a life" in found(
        claim(1, claimed(ONE)),
        claim(1, count=1, consumer=BOB, outcome=Outcome.UNKNOWN),
        move(2, claimed(ONE, BOB), State.PREPARING, Outcome.UNKNOWN),
        read(3, taken),
    )


def test_one_generation_by_two_writers() -> None:
    held = claimed(ONE)
    prepared = Sight(ONE, 3, State.PREPARING, ADA)
    assert "made twice" in found(
        claim(1, held),
        move(2, held, State.PREPARING),
        move(3, held, State.PREPARING),
        read(4, prepared),
    )


def test_a_move_that_was_refused_and_happened() -> None:
    held = claimed(ONE)
    prepared = Sight(ONE, 3, State.PREPARING, ADA)
    assert "nobody made h/1 at 3" in found(
        claim(1, held),
        move(2, held, State.PREPARING, Outcome.CONFLICT),
        read(3, prepared),
    )


def test_a_claim_that_was_refused_and_happened() -> None:
    assert "nobody made h/1 at 2" in found(
        claim(1, count=1, outcome=Outcome.NOWHERE), read(2, claimed(ONE))
    )


@pytest.mark.parametrize("last", [free(ONE), free(ONE, 3)])
def test_an_answered_claim_that_was_lost(last: Sight) -> None:
    assert "lost h/1 of ada" in found(claim(1, claimed(ONE)), read(2, last))


def test_an_answered_move_that_was_lost() -> None:
    held = claimed(ONE)
    assert "went back in time" in found(
        claim(1, held), move(2, held, State.PREPARING), read(3, held)
    )


def test_a_reading_of_what_was_before() -> None:
    held = claimed(ONE)
    assert "went back in time" in found(
        claim(1, held), read(2, free(ONE)), read(3, held)
    )


def test_a_reading_while_it_was_claimed_is_either() -> None:
    held = claimed(ONE)
    assert not found(
        claim(1, held, ended=3), read(2, free(ONE)), read(4, held)
    )


def test_a_unit_that_is_gone() -> None:
    assert "h/1 is gone" in found(
        publish(0, ONE, TWO), read(1, free(ONE), free(TWO)), read(2, free(TWO))
    )


def test_a_unit_that_left_and_came_back_begins_anew() -> None:
    assert not found(
        publish(0, ONE),
        read(1, free(ONE, 5)),
        publish(2),
        read(3),
        publish(4, ONE),
        read(5, free(ONE)),
    )


def test_publishing_another_group_is_a_generation_of_its_own() -> None:
    held, renumbered = claimed(ONE), claimed(ONE, ADA, 3)
    changed = publish(2, ONE, group=7)
    assert not found(
        publish(0, ONE), claim(1, held), changed, read(3, renumbered)
    )
    assert "no step of a life" in found(
        publish(0, ONE), claim(1, held), read(3, renumbered)
    )


def switch(at: int, act: Act, outcome: Outcome = Outcome.OK) -> Operation:
    return dataclasses.replace(operation(act, at), host="h", outcome=outcome)


def test_a_claim_of_a_host_that_is_out_of_use() -> None:
    held = claimed(ONE)
    out = switch(1, Act.CORDON)
    taken = claim(4, held)
    assert "which of 1 closed" in found(out, taken, read(5, held))
    assert "which of 1 closed" in found(
        switch(0, Act.UNCORDON), out, taken, read(5, held)
    )


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.UNKNOWN])
def test_a_claim_of_a_host_that_may_be_in_use_again(
    outcome: Outcome,
) -> None:
    held = claimed(ONE)
    out, back = switch(1, Act.CORDON), switch(2, Act.UNCORDON, outcome)
    assert not found(out, back, claim(4, held), read(5, held))


def test_a_claim_while_its_host_is_closed_is_either() -> None:
    held = claimed(ONE)
    out = switch(1, Act.CORDON)
    assert not found(out, claim(1, held, ended=3), read(5, held))


def test_half_held() -> None:
    assert "half held" in found(read(1, Sight(ONE, 1, State.FREE, ADA)))
    assert "half held" in found(read(1, Sight(ONE, 1, State.ACTIVE, None)))


def test_an_error_that_is_not_the_ledger_s() -> None:
    broken = dataclasses.replace(
        read(1), outcome=Outcome.BROKEN, text="KeyError: 'x'"
    )
    assert "read of 1: KeyError" in found(broken, read(2))


def test_what_is_written_is_read() -> None:
    held = claimed(ONE)
    told = [
        claim(1, held),
        move(2, held, State.FREE),
        publish(3, ONE),
        read(4),
    ]
    lines = [
        f"{line}\n"
        for one in told
        for line in (history.asked(one), history.answered(one))
    ]
    assert list(history.operations(lines)) == told


def test_what_a_killed_client_asked_stays_open() -> None:
    asked = history.asked(claim(1, count=2))
    cut = history.answered(claim(1, claimed(ONE), claimed(TWO)))[:40]
    (told,) = history.operations([f"{asked}\n", cut])
    assert (told.outcome, told.ended_ns) == (
        Outcome.UNKNOWN,
        history.NEVER_NS,
    )
    assert (told.count, told.sights) == (2, ())

"""What no history of a ledger may tell: pure.

Every rule looks at all clients' operations together, and at the ledger as
it stood when all was over, which is an operation like any other: the last
one to read everything.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from gpu_passthrough_plugin.model.unit import TRANSITIONS, State
from tests.functional.faults.history import (
    NEVER_NS,
    Act,
    Operation,
    Outcome,
    Sight,
)
from tests.functional.faults.past import After, Fact, History, by_one

_HELD = frozenset(State) - {State.FREE, State.QUARANTINED}


Rule = Callable[[History], Iterator[str]]


def violations(
    operations: Sequence[Operation],
    end: Operation,
    after: After = by_one,
) -> tuple[str, ...]:
    """Everything that should not be, a line each; none is what we want.

    :param end: a reading of all units, begun after all else ended.
    :param after: the generations that one step may take a unit to.
    """
    history = History(operations, end, after)
    return tuple(line for rule in RULES for line in rule(history))


def _unheard_of(history: History) -> Iterator[str]:
    """A ledger raises its own errors and no others."""
    for operation in history.operations:
        if operation.outcome is Outcome.BROKEN:
            yield f"{operation.act} {operation.name}: {operation.text}"


def _one_story(history: History) -> Iterator[str]:
    """A unit at a generation is the same for everybody."""
    for facts in history.facts.values():
        told: dict[int, Fact] = {}
        for fact in facts:
            first = told.setdefault(fact.sight.generation, fact)
            if first.sight == fact.sight:
                continue
            yield f"two stories: {first}; {fact}"
            told[fact.sight.generation] = fact


def _one_writer(history: History) -> Iterator[str]:
    """A generation of a unit is made once."""
    made: dict[tuple[str, int], Fact] = {}
    for fact in _made(history):
        place = fact.sight.unit, fact.sight.generation
        first = made.setdefault(place, fact)
        if first is not fact:
            yield f"made twice: {first}; {fact}"
        made[place] = fact


def _made(history: History) -> Iterator[Fact]:
    """What acknowledged moves and first claims brought about."""
    first = {id(claims[0]) for claims in history.claims.values()}
    for operation in history.operations:
        is_first = operation.act is Act.CLAIM and id(operation) in first
        if operation.act is Act.MOVE or is_first:
            for sight in operation.sights:
                yield Fact(sight, operation)


def _legal_steps(history: History) -> Iterator[str]:
    """From one generation to the next a unit takes one edge of its life.

    Or none, where its host showed it otherwise than before.
    """
    for unit, facts in history.facts.items():
        known: dict[int, list[Fact]] = collections.defaultdict(list)
        for fact in facts:
            known[fact.sight.generation].append(fact)
        for generation in sorted(known):
            for old, new in _pairs(known, generation, history.after):
                stays = history.is_republished(unit)
                if _is_step(old.sight, new.sight, stays):
                    continue
                if _skips_a_claim(old.sight, new.sight):
                    continue
                if not history.may_begin_anew(old, new):
                    yield f"no step of a life: {old}; {new}"


def _pairs(
    known: dict[int, list[Fact]], generation: int, after: After
) -> Iterator[tuple[Fact, Fact]]:
    """One fact of each kind at a generation, with those of the next."""
    old = {fact.sight: fact for fact in known[generation]}
    new = {
        fact.sight: fact
        for later in after(generation)
        for fact in known.get(later, ())
    }
    return itertools.product(old.values(), new.values())


def _skips_a_claim(old: Sight, new: Sight) -> bool:
    """Whether there is a generation between, of a claim, that is not seen."""
    return (
        new.generation > old.generation + 1
        and old.state is State.FREE
        and new.state in TRANSITIONS[State.CLAIMED]
    )


def _is_step(old: Sight, new: Sight, stays: bool) -> bool:
    is_same = old.state is new.state and old.consumer == new.consumer
    if stays and is_same:
        return True
    if new.state not in TRANSITIONS[old.state]:
        return False
    if old.state in _HELD and new.state in _HELD:
        return old.consumer == new.consumer
    return True


def _whole_lives(history: History) -> Iterator[str]:
    """Nothing happens to a unit that nobody asked for."""
    made = {(f.sight.unit, f.sight.generation) for f in _made(history)}
    tried = _tried(history)
    for unit, facts in history.facts.items():
        if history.is_republished(unit):
            continue
        seen = {fact.sight.generation: fact for fact in reversed(facts)}
        for generation in range(2, max(seen, default=1) + 1):
            if (unit, generation) in made:
                continue
            asked = tried.get((unit, generation), [])
            if any(o.outcome is Outcome.UNKNOWN for o in asked):
                continue
            fact = seen.get(generation)
            if fact is None and len(history.after(generation - 1)) > 1:
                # A step from before may have passed over it.
                continue
            if _may_be_claimed(history, fact):
                continue
            told = ", ".join(f"{o.name} was told {o.outcome}" for o in asked)
            yield (
                f"nobody made {unit} at {generation}:"
                f" {fact or 'not seen'}; {told or 'nobody tried'}"
            )


def _tried(history: History) -> dict[tuple[str, int], list[Operation]]:
    """Who asked for what may have made a unit's generation."""
    tried: dict[tuple[str, int], list[Operation]]
    tried = collections.defaultdict(list)
    for operation in history.operations:
        if operation.act is Act.MOVE and operation.before is not None:
            unit, generation = operation.before[:2]
            for later in history.after(generation):
                tried[unit, later].append(operation)
    return tried


def _may_be_claimed(history: History, fact: Fact | None) -> bool:
    """Whether a claim that nobody was told of may have made this."""
    if fact is not None:
        consumer = fact.sight.consumer
        return (
            fact.sight.state is State.CLAIMED
            and consumer is not None
            and any(
                o.may_have_happened and o.begun_ns < fact.by.ended_ns
                for o in history.claims.get(consumer, ())
            )
        )
    return any(
        o.outcome is Outcome.UNKNOWN
        for claims in history.claims.values()
        for o in claims
    )


def _in_time(history: History) -> Iterator[str]:
    """Who asks after another was told never sees what was before that."""
    for unit, facts in history.facts.items():
        ended = sorted(facts, key=lambda fact: fact.by.ended_ns)
        times = [fact.by.ended_ns for fact in ended]
        newest = list(itertools.accumulate(ended, _newer))
        for fact in facts:
            at = bisect.bisect_left(times, fact.by.begun_ns)
            if at == 0:
                continue
            last = newest[at - 1]
            if last.sight.generation <= fact.sight.generation:
                continue
            if not history.may_vanish(
                unit, last.by.begun_ns, fact.by.ended_ns
            ):
                yield f"went back in time: {last}; then {fact}"


def _newer(one: Fact, other: Fact) -> Fact:
    is_newer = other.sight.generation >= one.sight.generation
    return other if is_newer else one


def _all_or_none(history: History) -> Iterator[str]:
    """A consumer has every unit that it asked for, but those let go of."""
    for operation in (*history.operations, history.end):
        if operation.act not in (Act.CLAIM, Act.READ):
            continue
        held: dict[str, set[str]] = collections.defaultdict(set)
        for sight in operation.sights:
            if sight.consumer is not None:
                held[sight.consumer].add(sight.unit)
        for consumer, units in held.items():
            where = f"{operation.act} {operation.name}"
            yield from _part(history, consumer, units, operation, where)


def _part(
    history: History,
    consumer: str,
    units: set[str],
    seen_by: Operation,
    where: str,
) -> Iterator[str]:
    claims = history.claims.get(consumer)
    if not claims:
        yield f"nobody claimed for {consumer}, seen by {where}"
        return
    if len({unit.partition("/")[0] for unit in units}) > 1:
        yield f"{consumer} has units of two hosts, seen by {where}"
    let_go = history.let_go(consumer, seen_by.ended_ns) - units
    wanted = claims[0].count
    if not wanted - len(let_go) <= len(units) <= wanted:
        yield (
            f"{consumer} asked for {wanted} and has {len(units)}, with"
            f" {len(let_go)} let go of, seen by {where}"
        )


def _one_owner(history: History) -> Iterator[str]:
    """While a consumer certainly has a unit, nobody else is seen with it."""
    for unit, facts in history.facts.items():
        owner: Fact | None = None
        until_ns = -1
        for fact in sorted(facts, key=lambda fact: fact.by.ended_ns):
            consumer = fact.sight.consumer
            if owner is not None and owner.sight.consumer != consumer:
                begun_ns, ended_ns = fact.by.begun_ns, fact.by.ended_ns
                if owner.by.ended_ns <= begun_ns and ended_ns <= until_ns:
                    yield f"two owners: {owner}; {fact}"
            if consumer is None:
                continue
            last_ns = _first_end(history, unit, consumer, fact)
            if last_ns > until_ns:
                until_ns, owner = last_ns, fact


def _first_end(history: History, unit: str, consumer: str, fact: Fact) -> int:
    """The earliest instant at which the hold that was seen may end."""
    return min(
        (
            o.begun_ns
            for o in history.ends.get(consumer, {}).get(unit, ())
            if o.ended_ns > fact.by.begun_ns
        ),
        default=NEVER_NS,
    )


def _in_use(history: History) -> Iterator[str]:
    """Nothing is claimed of a host that certainly was out of use."""
    for claims in history.claims.values():
        claim = claims[0]
        for host in {sight.unit.partition("/")[0] for sight in claim.sights}:
            switches = history.switches.get(host, ())
            out = [
                o
                for o in switches
                if o.act is Act.CORDON
                and o.outcome is Outcome.OK
                and o.ended_ns < claim.begun_ns
            ]
            if not out:
                continue
            last = max(out, key=lambda o: o.begun_ns)
            if not any(
                o.act is Act.UNCORDON
                and o.ended_ns > last.begun_ns
                and o.begun_ns < claim.ended_ns
                for o in switches
            ):
                yield f"claim {claim.name} of {host}, which {last.name} closed"


def _kept(history: History) -> Iterator[str]:
    """What was claimed and never let go of is there in the end."""
    last = {sight.unit: sight for sight in history.end.sights}
    for operation in history.operations:
        if operation.act is not Act.CLAIM:
            continue
        for sight in operation.sights:
            if sight.unit in history.ends.get(str(sight.consumer), ()):
                continue
            found = last.get(sight.unit)
            if found is None or found.consumer != sight.consumer:
                yield (
                    f"claim {operation.name} lost {sight.unit} of"
                    f" {sight.consumer}: {found}"
                )


def _nothing_lost(history: History) -> Iterator[str]:
    """No unit that every publishing showed is gone, and none is half."""
    last = {sight.unit for sight in history.end.sights}
    for unit in history.facts.keys() - last:
        if not history.may_vanish(unit, 0, NEVER_NS):
            yield f"{unit} is gone"
    yield from _halves(history.end.sights)


def _halves(sights: Iterable[Sight]) -> Iterator[str]:
    for sight in sights:
        if (sight.consumer is not None) != (sight.state in _HELD):
            yield f"half held: {sight}"


RULES: tuple[Rule, ...] = (
    _unheard_of,
    _one_story,
    _one_writer,
    _legal_steps,
    _whole_lives,
    _in_time,
    _all_or_none,
    _one_owner,
    _in_use,
    _kept,
    _nothing_lost,
)

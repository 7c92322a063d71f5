"""What must hold of a host, whatever happened to it, after one pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gpu_passthrough_plugin.agent.finding import Case, Finding
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State, UnitRecord
from tests.functional.acts import Acts
from tests.functional.faults.host_world import HostWorld

# What one pass leaves, and a person does something about.
_EXPLAINED = {
    State.CLAIMED: Case.CLAIM_WITHOUT_GUEST,
    State.QUARANTINED: Case.QUARANTINED,
}
_SETTLED = (Phase.ACTIVE, Phase.ATTACHED, Phase.QUARANTINED)
_NOT_WHOLE = (Case.UNIT_MISSING, Case.PARTIAL_GROUP, Case.GUEST_CONFLICT)


def require_settled(world: HostWorld, failed: Collection[Finding]) -> None:
    """Fail unless every rule holds of a host after a pass.

    :param failed: what the pass told that it could not act on.
    """
    again = agent.run(world.acting(Acts()), world.cache, is_dry=True)
    planned = [
        short(o)
        for o in again
        if o.finding.has_act and o.finding not in failed
    ]
    assert not planned, f"one pass left {planned}"
    told = {(o.finding.case, o.finding.subject) for o in again}
    records = world.ledger.records()
    for record in records:
        if record.state is State.FREE:
            if not any(record.unit.key in f.units for f in failed):
                _require_clean(world, record)
        elif record.state is State.ACTIVE:
            _require_whole(world, record, told)
        elif _is_attached(world, record):
            _require_reset(world, record)
        else:
            case = _EXPLAINED.get(record.state)
            assert (case, str(record.unit.key)) in told, (
                f"{record.unit.key} is {record.state}, and nobody says why"
            )
    holders = {record.consumer for record in records}
    for instance in world.journal.instances():
        assert instance.phase in _SETTLED, instance
        if instance.phase is Phase.ACTIVE:
            assert instance.uuid in holders, f"only here: {instance}"


def _is_attached(world: HostWorld, record: UnitRecord) -> bool:
    """Whether a domain has it by its definition, from its next start.

    One that runs by another document has no definition to be seen here.
    """
    consumer = record.consumer
    if record.state is not State.CLAIMED or consumer is None:
        return False
    is_defined = _functions(record) <= world.defined(consumer)
    return is_defined or consumer in world.running()


def _require_reset(world: HostWorld, record: UnitRecord) -> None:
    dirty = _functions(record) & world.kernel.dirty.keys()
    assert not dirty, f"{record.unit.key}: {dirty} was not reset"


def _require_clean(world: HostWorld, record: UnitRecord) -> None:
    """What is offered is unused, was reset, and is on its driver."""
    key = record.unit.key
    functions = _functions(record)
    assert not functions & world.used(), f"{key} is offered, and in use"
    _require_reset(world, record)
    _require_restored(world, functions)


def _require_whole(
    world: HostWorld, record: UnitRecord, told: Collection[tuple[Case, str]]
) -> None:
    """The guest that a unit is active for has all of it, or it is told."""
    key, consumer = str(record.unit.key), record.consumer or ""
    given = world.running().get(consumer, frozenset())
    assert _functions(record) <= given or any(
        (case, key) in told for case in _NOT_WHOLE
    ), f"{key} is active for {consumer}, which has {given}"


def _require_restored(world: HostWorld, functions: Iterable[Address]) -> None:
    kernel, first = world.kernel, world.first
    for function in functions:
        if function in kernel._bindings:
            now = kernel.binding(function)
            assert now == first[function], f"{function} is on {now}"


def _functions(record: UnitRecord) -> set[Address]:
    return {function.address for function in record.unit.functions}


def short(outcome: agent.Outcome) -> str:
    finding = outcome.finding
    return (
        f"{finding.case} {finding.subject}: {finding.act}"
        f" {outcome.result} {outcome.text} ({finding.detail})"
    )

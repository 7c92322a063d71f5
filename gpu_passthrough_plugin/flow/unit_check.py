"""Check a unit that no guest has: bind, reset, read, link, bind back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import reset as resets
from gpu_passthrough_plugin.flow import (
    quarantine,
    sanitise,
    teardown,
)
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_here,
    why_busy,
)
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import (
    CHECK_PASSED,
    State,
    Unit,
    UnitKey,
    UnitRecord,
    failed_check_reason,
)


class CheckStep(NamedTuple):
    """One step of a check.

    :param is_passed: None for one that was not reached.
    """

    name: str
    is_passed: bool | None
    detail: str


class CheckedUnit(NamedTuple):
    """What came of a check.

    :param record: of the unit, afterwards.
    """

    record: UnitRecord
    steps: tuple[CheckStep, ...]

    @property
    def is_passed(self) -> bool:
        return all(step.is_passed for step in self.steps)


def check(
    context: HostContext, key: UnitKey, *, clears: bool = False
) -> CheckedUnit:
    """Check a unit of this host; return what came of each step.

    A free unit that fails is quarantined as suspect.  Its functions are on
    the drivers afterwards that they were on.

    :param clears: whether a suspect unit that passes is freed.
    :raises Refused: when a consumer has the unit, something uses it, it had
        a guest that only a reboot cleans up after, or it differs from what
        was published; with ``clears``, also when it is not suspect.
    """
    require_here(context, key.host, f"unit {key}")
    with locked_and_recovered(context):
        record = context.ledger.unit(key)
        _require_checkable(context, record, clears)
        with _former_drivers_restored(context, record):
            steps = _steps(context, record.unit)
        return _settled(context, record, steps, clears)


def _require_checkable(
    context: HostContext, record: UnitRecord, clears: bool
) -> None:
    unit = record.unit
    if record.state.is_held:
        raise errors.Refused(
            f"unit {unit.key} is {record.state} for {record.consumer}: its"
            " release checks it"
        )
    if clears and not record.is_suspect:
        why = f"quarantined ({record.reason})" if record.reason else "free"
        raise errors.Refused(
            f"unit {unit.key} is {why}, not suspect; run this without --clear,"
            " or 'gpu-passthrough unit clear'"
        )
    if busy := why_busy(context, unit):
        raise errors.Refused(busy)
    context.journal.require_free({f.address for f in unit.functions})
    quarantine.require_rebooted(context, unit)
    if lines := resets.losses(unit):
        raise errors.Refused(
            f"unit {unit.key} is not checked, because a check resets it:"
            f" {'; '.join(lines)}"
        )
    require_current(context, (unit,))


@contextlib.contextmanager
def _former_drivers_restored(
    context: HostContext, record: UnitRecord
) -> Iterator[None]:
    """Return a unit to its drivers afterwards.

    What a quarantine noted of them stays: ``unit clear`` restores these.
    What an earlier check noted of a free unit, it did not live to restore.
    """
    unit = record.unit
    uuid = quarantine.journal_uuid(unit)
    noted = context.journal.read(uuid)
    entry = Instance(
        uuid,
        phase=Phase.QUARANTINED,
        was_started=False,
        rebinds=teardown.present_rebinds(context, (unit,)),
    )
    is_quarantines = noted is not None and record.state is not State.FREE
    if noted is None:
        context.journal.write(entry)
    elif not is_quarantines:
        entry = noted
    yield
    _, faults = teardown.restore_drivers(context, entry, unit)
    if faults:
        raise errors.Refused("; ".join(faults))
    if not is_quarantines:
        context.journal.remove(uuid)


def _steps(context: HostContext, unit: Unit) -> tuple[CheckStep, ...]:
    names = ("bind", "reset", "config space", "link and errors")
    steps = []
    for name, step in zip(names, _results(context, unit), strict=False):
        steps.append(CheckStep(name, *step))
    steps += [CheckStep(name, None, "") for name in names[len(steps) :]]
    return tuple(steps)


def _results(context: HostContext, unit: Unit) -> Iterator[tuple[bool, str]]:
    """Yield whether each step passed, with what it shows."""
    failures = sanitise.bind_to_vfio(context, unit)
    yield not failures, "; ".join(failures) or "on a VFIO driver"
    if failures:
        return
    cleaning = sanitise.reset(context, unit, {}, counts_from_now=True)
    unanswered = sanitise.check_clean(context, unit)
    refused = [f for f in cleaning.faults if f not in unanswered]
    yield not refused, "; ".join(refused or cleaning.evidence)
    yield not unanswered, "; ".join(unanswered) or "responds as before"
    if unanswered:
        return
    doubts = cleaning.suspicions
    yield not doubts, "; ".join(doubts) or "as before"


def _settled(
    context: HostContext,
    record: UnitRecord,
    steps: tuple[CheckStep, ...],
    clears: bool,
) -> CheckedUnit:
    """Write what the check says of the unit."""
    failure = "; ".join(
        f"{step.name}: {step.detail}"
        for step in steps
        if step.is_passed is False
    )
    key = record.unit.key
    if not failure and clears:
        teardown.restore(context, record.unit)
        done = "; ".join(step.detail for step in steps)
        record = context.ledger.move(
            record, State.FREE, reason=f"{CHECK_PASSED}: {done}"
        )
        context.say(f"unit {key} is free")
    elif failure and (record.is_suspect or record.state is State.FREE):
        reason = failed_check_reason(record.reason, failure)
        record = context.ledger.move(record, State.QUARANTINED, reason=reason)
        context.say(f"unit {key} is quarantined: {reason}")
    return CheckedUnit(record, steps)

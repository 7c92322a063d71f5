"""What the agent does about units that may be about to fail."""

from __future__ import annotations

import time
from collections.abc import Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.agent.finding import Act, Finding
from gpu_passthrough_plugin.agent.suspect_units import is_check_due
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.flow import unit_check, unit_health
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.event import EventQuery
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
    suspect_reason,
)

ACTS = (Act.SUSPECT, Act.CHECK)
"""What is done about one unit at a time."""
_AGAIN_S = 0.5


def _watched(
    context: HostContext,
    records: Iterable[UnitRecord],
    functions: Iterable[Function],
) -> tuple[UnitRecord, ...]:
    """Return the units of which all functions are on a VFIO driver.

    Without those that are quarantined; none where nothing is judged.

    :param functions: of this host, as they are now.
    """
    if context.health is None:
        return ()
    judged = [r for r in records if r.state is not State.QUARANTINED]
    addresses = {f.address for r in judged for f in r.unit.functions}
    on_vfio = {
        function.address
        for function in functions
        if function.address in addresses
        and discovery.is_on_vfio(context.tree, function) is True
    }
    return tuple(
        record
        for record in judged
        if on_vfio.issuperset(f.address for f in record.unit.functions)
    )


def suspects(
    context: HostContext,
    records: Iterable[UnitRecord],
    functions: Iterable[Function],
) -> dict[UnitKey, tuple[str, ...]]:
    """Return why units are suspect that are not quarantined; wake none.

    Only of those that a VFIO driver has.  A function reads all ones for a
    moment while it is reset: what is gone a moment later is no evidence.
    """
    boot_id = known(host_facts.boot_id(context.tree)) or ""
    by_unit = {}
    for record in _watched(context, records, functions):
        unit = record.unit
        if _evidence(context, unit, boot_id):
            time.sleep(_AGAIN_S)
            if evidence := _evidence(context, unit, boot_id):
                by_unit[unit.key] = evidence
    return by_unit


def _evidence(
    context: HostContext, unit: Unit, boot_id: str
) -> tuple[str, ...]:
    before = unit_health.recorded(context, unit, boot_id) or {}
    return unit_health.suspicions(
        context, before, unit_health.readings(context.tree, unit)
    )


def remember_new(
    context: HostContext,
    records: Iterable[UnitRecord],
    functions: Iterable[Function],
) -> None:
    """Record how free units do that this boot has no record of.

    So that a guest is known by it that libvirt's hook let start.
    """
    boot_id = known(host_facts.boot_id(context.tree)) or ""
    for record in _watched(context, records, functions):
        is_free = record.state is State.FREE
        if (
            is_free
            and unit_health.recorded(context, record.unit, boot_id) is None
        ):
            unit_health.remember(context, record.unit)


def _quarantine(context: HostContext, key: UnitKey) -> None:
    """Quarantine a free unit, if it is suspect still.

    Under the host's lock: no reset is under way then.
    """
    record = context.ledger.unit(key)
    if record.state is not State.FREE:
        return
    boot_id = known(host_facts.boot_id(context.tree)) or ""
    if evidence := _evidence(context, record.unit, boot_id):
        reason = suspect_reason(evidence)
        context.ledger.move(record, State.QUARANTINED, reason=reason)
        context.say(f"unit {key} is quarantined: {reason}")


def due_checks(
    context: HostContext, records: Iterable[UnitRecord]
) -> frozenset[UnitKey]:
    """Return the suspect units that the agent is to check now."""
    if context.health is None or not context.health.has_canary:
        return frozenset()
    now_us = int(time.time() * 1_000_000)
    return frozenset(
        record.unit.key
        for record in records
        if record.is_suspect
        and is_check_due(
            context.ledger.events(
                EventQuery(context.host, str(record.unit.key.address))
            ).events,
            now_us,
        )
    )


def settle(context: HostContext, finding: Finding) -> None:
    """Quarantine a unit, or check it and free it if it passes.

    :raises Refused: when a check fails; when a unit is in use meanwhile.
    """
    (key,) = finding.units
    if finding.act is Act.SUSPECT:
        with locked_and_recovered(context):
            _quarantine(context, key)
        return
    checked = unit_check.check(context, key, clears=True)
    if not checked.is_passed:
        raise errors.Refused(checked.record.reason)

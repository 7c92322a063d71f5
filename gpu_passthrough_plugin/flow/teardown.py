"""Stop a guest; reset, check and free the units that it had."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.flow import (
    definitions,
    host_snapshot,
    quarantine,
    unit_health,
)
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.guest_functions import (
    functions,
    is_anothers,
)
from gpu_passthrough_plugin.flow.sanitise import (
    Cleaning,
    check_clean,
    sanitise,
)
from gpu_passthrough_plugin.model.function import Rebind
from gpu_passthrough_plugin.model.instance import (
    Instance,
    NamedInstance,
    Phase,
)
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitRecord,
    suspect_reason,
)

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def quarantine_unused(
    context: HostContext, uuid: str, records: Iterable[UnitRecord]
) -> None:
    """Quarantine units that a running guest does not have; touch no guest.

    Units that are only claimed become free: nothing was done to them.
    """
    reason = (
        f"the ledger has it for guest {uuid}, which runs without any function"
        " of it and is not in this host's journal; the guest was left running"
    )
    for record in records:
        if record.state is State.CLAIMED:
            context.ledger.move(record, State.FREE)
            context.say(f"unit {record.unit.key} is free")
        else:
            sanitising = _sanitising(context, record)
            quarantine.put(context, Instance(uuid), sanitising, reason)


def _sanitising(context: HostContext, record: UnitRecord) -> UnitRecord:
    """Move a unit to ``sanitising``, from any state that leads there."""
    if record.state in (State.PREPARING, State.ACTIVE):
        record = context.ledger.move(record, State.RELEASING)
    if record.state is State.RELEASING:
        record = context.ledger.move(record, State.SANITISING)
    return record


def give_back(
    context: HostContext,
    hypervisor: Hypervisor | None,
    instance: Instance,
    *,
    stop_timeout_s: float = 0,
    restores_drivers: bool = True,
) -> tuple[str, ...]:
    """Give back everything that an instance has; return what was done.

    Each act may have been done before: an interrupted release is completed
    by this as well.

    :param hypervisor: None when libvirt has reported that the guest ended.
    :param stop_timeout_s: how long the guest may take to shut down; 0 powers
        it off at once.
    :param restores_drivers: whether functions go back to the drivers that
        they had.
    """
    uuid = instance.uuid
    instance = dataclasses.replace(instance, phase=Phase.RELEASING)
    context.journal.write(instance)
    done: list[str] = []
    for state in (State.PREPARING, State.ACTIVE):
        context.move(uuid, state, State.RELEASING)
    if hypervisor:
        done += _stop_own(context, hypervisor, instance, stop_timeout_s)
        for line in definitions.end(hypervisor, instance):
            context.say(line)
            done.append(line)
    if instance.definition and not instance.keeps_definition:
        _touch(context, instance)
    instance = with_rebinds(context, instance, context.held(uuid))
    context.move(uuid, State.RELEASING, State.SANITISING)
    for record in context.held(uuid):
        if record.state is State.CLAIMED:
            done += _free_unused(context, instance, record)
            continue
        instance, lines = _clean(
            context, instance, record, restores_drivers=restores_drivers
        )
        done += lines
    if instance.keeps_definition:
        instance = dataclasses.replace(instance, rebinds=())
        context.journal.write(definitions.settled(instance))
    else:
        context.journal.remove(uuid)
    return tuple(done)


def with_rebinds(
    context: HostContext, instance: Instance, records: Iterable[UnitRecord]
) -> Instance:
    """Note how functions are bound that the journal does not have yet.

    The journal does not have a guest that libvirt started, or whose row came
    back with an older copy of the ledger.  Its guest has ended: libvirt has
    returned to their drivers what it had bound itself, and a reset takes
    them from there.
    """
    noted = {rebind.address for rebind in instance.rebinds}
    rebinds: list[Rebind] = []
    for record in records:
        if record.state is State.CLAIMED or noted & functions([record]):
            continue
        # Of one that is gone, the check of its unit tells.
        with contextlib.suppress(errors.ReadFailed):
            rebinds += present_rebinds(context, [record.unit])
    if not rebinds:
        return instance
    instance = dataclasses.replace(
        instance, rebinds=(*instance.rebinds, *rebinds)
    )
    context.journal.write(instance)
    return instance


def present_rebinds(
    context: HostContext, units: Sequence[Unit]
) -> tuple[Rebind, ...]:
    """Return the change to a VFIO driver from what each function is on now.

    :raises ReadFailed: when the host does not have one of them.
    """
    bindings = context.bindings(units)
    drivers = host_snapshot.vfio_drivers(context.tree, bindings)
    return assignment.rebinds(units, bindings, drivers)


def detach_units(
    context: HostContext, instance: Instance, records: Iterable[UnitRecord]
) -> tuple[str, ...]:
    """Reset, check and free units of an instance; return what was done.

    Its other units, and its journal's entry, stay.

    :param instance: whose guest has none of their functions.
    """
    sanitising = [_touched(context, record) for record in records]
    instance = with_rebinds(context, instance, sanitising)
    done: list[str] = []
    for record in sanitising:
        instance, lines = _clean(
            context,
            instance,
            record,
            restores_drivers=context.restores_drivers,
        )
        done += lines
    return tuple(done)


def _touch(context: HostContext, instance: Instance) -> None:
    """Have units reset and checked that a defined domain may have used.

    libvirt starts it without asking where no hook is, so that they are only
    claimed.
    """
    if instance.was_started:
        for record in context.held(instance.uuid):
            _touched(context, record)


def _touched(context: HostContext, record: UnitRecord) -> UnitRecord:
    """Move a unit to ``sanitising``, also one that is only claimed."""
    if record.state is State.CLAIMED:
        record = context.ledger.move(record, State.PREPARING)
    return _sanitising(context, record)


def _clean(
    context: HostContext,
    instance: Instance,
    record: UnitRecord,
    *,
    restores_drivers: bool,
) -> tuple[Instance, list[str]]:
    """Reset, check and free a unit; return what was done."""
    done: list[str] = []
    cleaning = _reset_and_check(context, instance, record.unit)
    faults = why_quarantined(cleaning)
    if not faults:
        instance = _record_clean(context, instance, record.unit)
        unit_health.remember(context, record.unit)
        if restores_drivers:
            restored, faults = restore_drivers(context, instance, record.unit)
            done += restored
    if faults:
        done += quarantine.put(context, instance, record, "; ".join(faults))
    else:
        done += _free(context, instance, record, "; ".join(cleaning.evidence))
    return instance, done


def why_quarantined(cleaning: Cleaning) -> tuple[str, ...]:
    """Return why a unit is not freed, or empty; the first line says so.

    What is not clean counts for more than what is only suspect.
    """
    if cleaning.faults or not cleaning.suspicions:
        return cleaning.faults
    return (suspect_reason(cleaning.suspicions),)


def _stop_own(
    context: HostContext,
    hypervisor: Hypervisor,
    instance: Instance,
    stop_timeout_s: float,
) -> list[str]:
    """Stop a guest that runs with functions of its instance."""
    uuid = instance.uuid
    live = hypervisor.live_xml(uuid)
    if live is None:
        return []
    if is_anothers(context, instance, live):
        line = f"guest {uuid} runs without these units, and was left running"
    else:
        line = _stop(hypervisor, uuid, stop_timeout_s)
    context.say(line)
    return [line]


def _stop(hypervisor: Hypervisor, uuid: str, stop_timeout_s: float) -> str:
    if stop_timeout_s and hypervisor.shut_down(uuid, stop_timeout_s):
        return "guest shut down"
    hypervisor.destroy(uuid)
    if stop_timeout_s:
        return (
            f"guest did not shut down within {stop_timeout_s:g} s; powered off"
        )
    return "guest powered off"


def _free_unused(
    context: HostContext, instance: Instance, record: UnitRecord
) -> list[str]:
    """Free a unit that nothing was done to yet, unless its claim stays."""
    if instance.keeps_claim:
        return []
    return _free(context, instance, record)


def _free(
    context: HostContext,
    instance: Instance,
    record: UnitRecord,
    evidence: str = "",
) -> list[str]:
    """Free a unit; its event has the evidence that it is clean."""
    end = State.CLAIMED if instance.keeps_claim else State.FREE
    context.ledger.move(record, end, reason=evidence)
    line = f"unit {record.unit.key} is {end}"
    context.say(line)
    return [line]


def _record_clean(
    context: HostContext, instance: Instance, unit: Unit
) -> Instance:
    """Record that a unit is clean, before host drivers get its functions."""
    cleaned = (*instance.cleaned, unit.key.address)
    instance = dataclasses.replace(instance, cleaned=cleaned)
    context.journal.write(instance)
    return instance


def _reset_and_check(
    context: HostContext, instance: Instance, unit: Unit
) -> Cleaning:
    """Return whether the unit is clean, after the resets that it needs."""
    if unit.key.address in instance.cleaned:
        return Cleaning((), ("found clean before this was interrupted",))
    if not instance.was_started:
        return Cleaning(
            check_clean(context, unit), ("no guest was started with it",)
        )
    ours = {
        function.address: record.unit
        for record in context.held(instance.uuid)
        if record.state is State.SANITISING
        for function in record.unit.functions
    }
    consumer = NamedInstance(instance.uuid, instance.name)
    return sanitise(context, unit, ours, consumer)


def restore_drivers(
    context: HostContext, instance: Instance, unit: Unit
) -> tuple[list[str], tuple[str, ...]]:
    """Return functions to the drivers that they had.

    Return what was done, and what failed.
    """
    addresses = {f.address for f in unit.functions}
    done: list[str] = []
    faults: list[str] = []
    for rebind in reversed(instance.rebinds):
        if rebind.address not in addresses or not rebind.is_needed:
            continue
        driver = rebind.was.driver
        try:
            context.devices.rebind(rebind.undo())
        except errors.Error as error:
            faults.append(
                f"cannot return {rebind.address} to {driver or 'no driver'}:"
                f" {error}"
            )
            continue
        done.append(
            f"{rebind.address} is back on {driver}"
            if driver
            else f"{rebind.address} has no driver again"
        )
        context.say(done[-1])
    return done, tuple(faults)


def restore(context: HostContext, unit: Unit) -> None:
    """Return a quarantined unit to the drivers that it had.

    It is known to be good, or somebody says so: it is held against what it
    is now from here on.

    :raises Refused: when a driver does not bind its function.
    """
    unit_health.remember(context, unit)
    instance = context.journal.read(quarantine.journal_uuid(unit))
    if instance is None:
        return
    if context.restores_drivers:
        _, faults = restore_drivers(context, instance, unit)
        if faults:
            raise errors.Refused("; ".join(faults))
    context.journal.remove(instance.uuid)

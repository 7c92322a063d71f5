"""Release instances, or withdraw a claim that no instance uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import gone_instances
from gpu_passthrough_plugin.compute.gone_instances import (
    GoneInstances,
    JudgedInstance,
)
from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.flow import (
    definitions,
    guest_functions,
    instance_sources,
    teardown,
)
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_here,
    why_busy,
)
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.instance import (
    Definition,
    Instance,
    NamedInstance,
    Phase,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

_CHANGED = "it was not released now; run this again"


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """What is, or would be, done with one instance of this host.

    :param name: of its guest; empty where it is not known.
    :param reason: why it is released, or kept.
    :param is_kept: whether it is not released.
    """

    uuid: str
    name: str
    units: tuple[UnitRecord, ...]
    reason: str
    is_kept: bool = False


def release(context: HostContext, uuid: str) -> tuple[UnitRecord, ...]:
    """Stop an instance, then reset, check and free its units; return these.

    Return none when an interrupted release had freed them all.

    :raises Refused: when the instance holds nothing, or is on another host.
    """
    with locked_and_recovered(context, except_uuid=uuid):
        allocation = _allocation(context, uuid)
        if allocation:
            require_here(context, allocation.host, f"instance {uuid}")
        instance = context.journal.read(uuid)
        units = allocation.units if allocation else ()
        with context.connect() as hypervisor:
            _require_unsaved(hypervisor, uuid, instance)
            if instance is None and guest_functions.is_without(
                hypervisor, uuid, units
            ):
                teardown.quarantine_unused(context, uuid, units)
            else:
                _give_back(context, hypervisor, uuid, instance)
        return tuple(context.ledger.unit(r.unit.key) for r in units)


def quarantine_unused(
    context: HostContext, uuid: str, keys: Collection[UnitKey]
) -> None:
    """Quarantine units that a running guest does not have; touch no guest.

    Those that another command detached, or attaches again, since they were
    found are left alone.

    :raises Refused: when the guest has one of them now, or has ended.
    """
    with locked_and_recovered(context):
        instance = context.journal.read(uuid)
        own = instance.functions if instance else frozenset()
        records = [
            r
            for r in context.held(uuid)
            if r.unit.key in keys
            and r.state is State.ACTIVE
            and own.isdisjoint(guest_functions.functions([r]))
        ]
        with context.connect() as hypervisor:
            if not guest_functions.is_without(hypervisor, uuid, records):
                raise errors.Refused(
                    f"guest {uuid} has ended, or runs with these units now"
                )
        teardown.quarantine_unused(context, uuid, records)


def plan(context: HostContext, uuid: str) -> Release:
    """Return what ``release`` would do with an instance; change nothing.

    :raises Refused: as ``release`` does.
    """
    observed = _observed(context)
    allocation = _allocation(context, uuid)
    if allocation:
        require_here(context, allocation.host, f"instance {uuid}")
    records = allocation.units if allocation else ()
    name = observed.name(uuid)
    with context.connect() as hypervisor:
        instance = context.journal.read(uuid)
        _require_unsaved(hypervisor, uuid, instance)
        live = hypervisor.live_xml(uuid)
        if live is None:
            reason = "its guest does not run"
        elif instance is None and guest_functions.is_without(
            hypervisor, uuid, records
        ):
            reason = (
                "its guest runs without these units, and would be left"
                " running; the units would be quarantined"
            )
        elif guest_functions.is_anothers(
            context, instance or Instance(uuid), live
        ):
            reason = "its guest runs without these units, and would be left"
        else:
            reason = (
                "its guest runs, and would be shut down, or powered off after"
                f" {context.stop_timeout_s:g} s"
            )
        if instance is not None and instance.definition is not None:
            reason += f"; {_definition_end(instance.definition)}"
    return Release(uuid, name, records, reason)


def _require_unsaved(
    hypervisor: Hypervisor, uuid: str, instance: Instance | None
) -> None:
    if instance is not None and instance.definition is not None:
        definitions.require_unsaved(hypervisor, uuid)


def _definition_end(definition: Definition) -> str:
    if definition.is_own:
        return "its domain would be undefined, unless it was edited"
    return "its functions would be removed from the domain's definition"


def plan_gone(context: HostContext) -> tuple[Release, ...]:
    """Return what ``release_gone`` would do; change nothing.

    :raises Unavailable: when libvirt or the journal cannot be read.
    """
    return _planned(_judged(context))


def release_gone(context: HostContext) -> tuple[Release, ...]:
    """Release every instance of this host whose guest is gone.

    Return each instance of this host, with the units as they are then.  No
    guest is stopped.  libvirt and the groups are looked at again before each
    release, because that of another takes its time.

    What libvirt may start again is left to what every command begins with:
    that keeps such a guest from starting before it asks libvirt.

    :raises Unavailable: when libvirt or the journal cannot be read.
    """
    # What the next line finishes is gone as well.
    first = _judged(context)
    released = {judged.record.uuid: judged for judged in first.gone}
    done: set[str] = set()
    with locked_and_recovered(context):
        while True:
            now = _judged(context)
            judged = next(
                (
                    j
                    for j in now.gone
                    if j.record.uuid not in done and not j.is_left_to_recovery
                ),
                None,
            )
            if judged is None:
                break
            done.add(judged.record.uuid)
            released[judged.record.uuid] = judged
            _release_gone(context, judged)
        left = [
            *(j._replace(reason=_CHANGED) for j in now.gone),
            *now.kept,
        ]
        kept = {judged.record.uuid for judged in left}
        return (
            *(
                _released(context, judged)
                for uuid, judged in released.items()
                if uuid not in kept
            ),
            *_planned(GoneInstances((), tuple(left))),
        )


def release_if_gone(context: HostContext, uuid: str) -> None:
    """Release one instance of this host, if its guest is gone.

    As ``release_gone`` does with each.

    :raises Unavailable: when libvirt or the journal cannot be read.
    """
    with locked_and_recovered(context):
        for judged in _judged(context).gone:
            record = judged.record
            if record.uuid == uuid and not judged.is_left_to_recovery:
                _release_gone(context, judged)


def _release_gone(context: HostContext, judged: JudgedInstance) -> None:
    uuid, name = judged.record.uuid, judged.record.name
    context.say(f"releasing {NamedInstance(uuid, name)}: {judged.reason}")
    _give_back(context, None, uuid, context.journal.read(uuid))


def _judged(context: HostContext) -> GoneInstances:
    observed = _observed(context)
    for unread in (observed.domains, observed.journal):
        if isinstance(unread, Unknown):
            raise errors.Unavailable(
                f"which guests are gone is unknown: {unread.detail}"
            )

    return gone_instances.decide(
        observed, lambda unit: why_busy(context, unit)
    )


def _observed(context: HostContext) -> ObservedInstances:
    return instance_sources.observe(instance_sources.sources(context))


def _planned(judged: GoneInstances) -> tuple[Release, ...]:
    return (
        *(_release_of(j) for j in judged.gone),
        *(
            dataclasses.replace(_release_of(j), is_kept=True)
            for j in judged.kept
        ),
    )


def _release_of(judged: JudgedInstance) -> Release:
    record = judged.record
    units = record.allocation.units if record.allocation else ()
    return Release(record.uuid, record.name, units, judged.reason)


def _released(context: HostContext, judged: JudgedInstance) -> Release:
    release_of = _release_of(judged)
    units = tuple(context.ledger.unit(r.unit.key) for r in release_of.units)
    return dataclasses.replace(release_of, units=units)


def _give_back(
    context: HostContext,
    hypervisor: Hypervisor | None,
    uuid: str,
    instance: Instance | None,
) -> None:
    """Stop an instance and release what it has.

    :param hypervisor: None when libvirt has said that its guest is gone.
    :param instance: as the journal has it; None if it does not.
    """
    if instance is None:
        instance = Instance(uuid)
        context.say(
            f"instance {uuid} is not in the journal: the former drivers of"
            " its functions are unknown; they keep those that they are on once"
            " the guest has ended"
        )
    teardown.give_back(
        context,
        hypervisor,
        dataclasses.replace(
            instance,
            keeps_claim=False,
            keeps_definition=False,
            is_stopped=instance.is_stopped or hypervisor is None,
        ),
        stop_timeout_s=context.stop_timeout_s,
        restores_drivers=context.restores_drivers,
    )


def _allocation(context: HostContext, uuid: str) -> Allocation | None:
    """Return what an instance holds; None when its release freed it all."""
    try:
        return context.ledger.allocation(uuid)
    except errors.Refused as error:
        instance = context.journal.read(uuid)
        if instance is None:
            raise
        if instance.phase is Phase.RELEASING:
            return None
        raise errors.Refused(
            f"instance {uuid} is missing in the ledger, and this host's"
            f" journal has it as {instance.phase}; restore the ledger, or stop"
            f" the guest and move {uuid}.json out of the folder 'instances' in"
            " [DEFAULT] state_path"
        ) from error


def withdraw(context: HostContext, uuid: str) -> Allocation:
    """Free what a consumer claimed and no instance uses; return what it was.

    :raises Refused: when the consumer holds nothing, or an instance uses it.
    """
    with locked_and_recovered(context):
        allocation = context.ledger.allocation(uuid)
        busy = [r for r in allocation.units if r.state is not State.CLAIMED]
        if busy:
            raise errors.Refused(
                f"unit {busy[0].unit.key} of {uuid} is {busy[0].state}; run"
                f" 'gpu-passthrough instance release {uuid}' on"
                f" {allocation.host}"
            )
        if context.journal.has(uuid):
            raise errors.Refused(
                f"unit {allocation.units[0].unit.key} is claimed for as long"
                f" as the definition of {uuid} has it; run 'gpu-passthrough"
                f" instance detach {uuid}'"
            )
        for record in allocation.units:
            context.ledger.move(record, State.FREE)
        return allocation

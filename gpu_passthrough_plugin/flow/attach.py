"""Attach units to a domain that libvirt has, and detach them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.flow import (
    attach_recovery,
    definitions,
    preparation,
)
from gpu_passthrough_plugin.flow.context import HostContext, require_here
from gpu_passthrough_plugin.flow.preparation import Step
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.guest import LibvirtDomain
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor


def attach(context: HostContext, uuid: str, request: Request) -> Allocation:
    """Give a defined domain whole groups; return what it holds from now.

    The claim lasts as long as the definition has them.

    :raises Error: when a step fails, with its name; every step before it was
        rolled back.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        domain = _attachable(context, hypervisor, uuid)
        request = dataclasses.replace(request, numa_nodes=domain.numa_nodes)
        begun = Instance(
            uuid=uuid,
            name=domain.name,
            request=str(request),
            phase=Phase.ATTACHING,
            keeps_claim=bool(context.held(uuid)),
            was_started=False,
            own=domain.host_functions.addresses,
        )
        context.journal.write(begun)
        context.ledger.name_consumer(uuid, domain.name)
        with preparation.rolled_back_on_error(
            "attach", lambda: _undo(context, hypervisor, begun)
        ) as step:
            records = preparation.claim(context, begun, request, step)
            units = tuple(record.unit for record in records)
            _define(context, hypervisor, domain, begun, units, step)
    return context.ledger.allocation(uuid)


def plan_attach(
    context: HostContext, uuid: str, request: Request
) -> tuple[Unit, ...]:
    """Return the units that ``attach`` would take now; change nothing.

    :raises Error: when it would refuse.
    """
    with context.connect() as hypervisor:
        domain = _attachable(context, hypervisor, uuid)
    request = dataclasses.replace(request, numa_nodes=domain.numa_nodes)
    return preparation.planned_units(context, uuid, request)


def _attachable(
    context: HostContext, hypervisor: Hypervisor, uuid: str
) -> Domain:
    """Return the definition of a domain that units may be attached to.

    :raises Refused: when they may not.
    """
    guest = _existing(hypervisor, uuid)
    _require_free_of_units(context, guest)
    if not guest.is_persistent:
        raise errors.Refused(
            f"domain {guest.name!r} is transient: libvirt has no definition of"
            " it; define it ('virsh define'), or run 'gpu-passthrough instance"
            " boot DOMAIN.xml --define'"
        )
    _require_stopped(guest)
    definitions.require_unsaved(hypervisor, uuid)
    domain = definitions.read(hypervisor, uuid)
    if domain is None:
        raise errors.Conflict(
            f"domain {guest.name!r} was undefined just now; run this again"
        )
    assignment.refuse_taken(domain, context.records())
    preparation.require_spared(context, domain)
    return domain


def _existing(hypervisor: Hypervisor, uuid: str) -> LibvirtDomain:
    guest = hypervisor.domain(uuid)
    if guest is None:
        raise errors.Refused(
            f"libvirt has no domain of UUID {uuid}; see 'virsh list --all'"
        )
    return guest


def _require_stopped(guest: LibvirtDomain) -> None:
    if guest.is_active:
        raise errors.Refused(
            f"domain {guest.name!r} is {guest.state}; shut it down, then run"
            " this again"
        )


def _require_free_of_units(context: HostContext, guest: LibvirtDomain) -> None:
    """Raise if a domain is an instance already, on this host or another."""
    uuid = guest.uuid
    instance, held = _instance(context, uuid)
    if instance is None and all(r.state is State.CLAIMED for r in held):
        return
    units = ", ".join(str(r.unit.key) for r in held) or "what it had"
    verb = "release"
    if instance is not None and instance.definition is not None:
        verb = "detach"
    raise errors.Refused(
        f"domain {guest.name!r} has {units} already; run 'gpu-passthrough"
        f" instance {verb} {uuid}' first"
    )


def _instance(
    context: HostContext, uuid: str
) -> tuple[Instance | None, tuple[UnitRecord, ...]]:
    """Return an instance's journal entry, if any, and its units.

    :raises Refused: when these are on another host.
    """
    try:
        allocation = context.ledger.allocation(uuid)
    except errors.Refused:
        return context.journal.read(uuid), ()
    require_here(context, allocation.host, f"instance {uuid}")
    return context.journal.read(uuid), allocation.units


def _define(
    context: HostContext,
    hypervisor: Hypervisor,
    domain: Domain,
    instance: Instance,
    units: tuple[Unit, ...],
    step: Step,
) -> None:
    step("define")
    places = preparation.guest_places(context, domain, units)
    instance = dataclasses.replace(
        instance, definition=definitions.planned(units, places)
    )
    context.journal.write(instance)
    xml = definitions.text(context, domain, units, places)
    definitions.replace(hypervisor, domain, xml)
    step("check the definition")
    defined = definitions.functions(
        definitions.read(hypervisor, instance.uuid)
    )
    missing = instance.defined_functions - defined
    if missing:
        raise errors.Refused(
            f"libvirt left {', '.join(map(str, sorted(missing)))} out of the"
            " definition"
        )
    context.journal.write(definitions.settled(instance))
    context.say(
        f"domain {domain.name!r} has"
        f" {', '.join(str(unit.key) for unit in units)} from its next start on"
    )


def _undo(
    context: HostContext, hypervisor: Hypervisor, begun: Instance
) -> str:
    return preparation.undone(
        context,
        begun,
        lambda instance: attach_recovery.undo_attach(
            context, hypervisor, instance
        ),
    )


def detach(
    context: HostContext, uuid: str, keys: Collection[UnitKey] = ()
) -> tuple[UnitRecord, ...]:
    """Take units from a domain, then reset, check and free them.

    Return these.

    :param keys: units to detach; none for all.
    :raises Refused: when the domain runs, or has none of them.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        instance, leaving = _detachable(context, hypervisor, uuid, keys)
        instance = dataclasses.replace(
            instance,
            phase=Phase.DETACHING,
            detaching=tuple(r.unit.key.address for r in leaving),
        )
        context.journal.write(instance)
        attach_recovery.complete_detach(context, hypervisor, instance)
        return tuple(context.ledger.unit(r.unit.key) for r in leaving)


def plan_detach(
    context: HostContext, uuid: str, keys: Collection[UnitKey] = ()
) -> tuple[UnitRecord, ...]:
    """Return the units that ``detach`` would free; change nothing.

    :raises Refused: when it would.
    """
    with context.connect() as hypervisor:
        _, leaving = _detachable(context, hypervisor, uuid, keys)
    return leaving


def _detachable(
    context: HostContext,
    hypervisor: Hypervisor,
    uuid: str,
    keys: Collection[UnitKey],
) -> tuple[Instance, tuple[UnitRecord, ...]]:
    instance, held = _instance(context, uuid)
    if instance is None or instance.definition is None:
        raise errors.Refused(
            f"instance {uuid} has no unit by 'instance attach' on this host"
            f" ({context.host}); "
            + (
                f"run 'gpu-passthrough instance release {uuid}'"
                if held or instance
                else "see 'gpu-passthrough instance list'"
            )
        )
    strange = sorted(set(keys) - {record.unit.key for record in held})
    if strange:
        raise errors.Invalid(
            f"unit {strange[0]} is not attached to {uuid}; expected"
            f" {' or '.join(str(r.unit.key) for r in held) or 'no unit'}"
        )
    guest = hypervisor.domain(uuid)
    if guest is not None:
        _require_stopped(guest)
    definitions.require_unsaved(hypervisor, uuid)
    chosen = tuple(r for r in held if not keys or r.unit.key in keys)
    return instance, chosen

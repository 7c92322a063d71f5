"""Attach units to a domain that libvirt has, and detach them again."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment, attachment
from gpu_passthrough_plugin.flow import (
    attach_recovery,
    definitions,
    preparation,
)
from gpu_passthrough_plugin.flow.context import HostContext, require_here
from gpu_passthrough_plugin.flow.guest_functions import guest_faults
from gpu_passthrough_plugin.flow.preparation import Records, Step
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.guest import LibvirtDomain
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitKey, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

# How long a running guest may take to give up what it got in vain.
_ROLLBACK_WAIT_S = 10


class Scope(enum.Enum):
    """What of a domain an attach is about, in virsh's sense."""

    CURRENT = enum.auto()
    """The running guest, if it runs, and the definition, if it has one."""
    LIVE = enum.auto()
    CONFIG = enum.auto()


class Target(NamedTuple):
    """A domain that units are attached to.

    :param definition: as libvirt has it; None where it stays as it is.
    :param live: the running guest's document; None where it gets nothing.
    """

    name: str
    definition: Domain | None
    live: Domain | None

    @property
    def documents(self) -> tuple[Domain, ...]:
        return tuple(d for d in (self.live, self.definition) if d is not None)


def attach(
    context: HostContext,
    uuid: str,
    request: Request,
    scope: Scope = Scope.CURRENT,
) -> Allocation:
    """Give a domain whole groups; return what it holds from now.

    The claim lasts as long as the definition has them, or, where that has
    not, as long as the guest runs.

    :raises Error: when a step fails, with its name; every step before it was
        rolled back.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        target = _attachable(context, hypervisor, uuid, scope)
        document = target.documents[0]
        request = dataclasses.replace(request, numa_nodes=document.numa_nodes)
        begun = Instance(
            uuid=uuid,
            name=target.name,
            request=str(request),
            phase=Phase.ATTACHING,
            keeps_claim=bool(context.held(uuid)),
            was_started=False,
            own=document.host_functions.addresses,
        )
        context.journal.write(begun)
        context.ledger.name_consumer(uuid, target.name)
        with preparation.rolled_back_on_error(
            "attach", lambda: _undo(context, hypervisor, begun)
        ) as step:
            records = preparation.claim(context, begun, request, step)
            instance = begun
            if target.definition is not None:
                instance = _define(
                    context, hypervisor, target.definition, begun, records,
                    step, is_live=target.live is not None,
                )  # fmt: skip
            if target.live is not None:
                instance = _plug(context, hypervisor, instance, records, step)
            context.journal.write(definitions.settled(instance))
        context.say(_summary(target, preparation.units_of(records)))
    return context.ledger.allocation(uuid)


def plan_attach(
    context: HostContext,
    uuid: str,
    request: Request,
    scope: Scope = Scope.CURRENT,
) -> tuple[Unit, ...]:
    """Return the units that ``attach`` would take now; change nothing.

    :raises Error: when it would refuse.
    """
    with context.connect() as hypervisor:
        target = _attachable(context, hypervisor, uuid, scope)
    numa_nodes = target.documents[0].numa_nodes
    request = dataclasses.replace(request, numa_nodes=numa_nodes)
    return preparation.planned_units(context, uuid, request)


def _attachable(
    context: HostContext, hypervisor: Hypervisor, uuid: str, scope: Scope
) -> Target:
    """Return the documents of a domain that units may be attached to.

    :raises Refused: when they may not.
    """
    guest = _existing(hypervisor, uuid)
    _require_free_of_units(context, guest)
    if scope is Scope.CONFIG and not guest.is_persistent:
        raise errors.Refused(
            f"domain {guest.name!r} is transient: libvirt has no definition of"
            " it; run this without --config, or define it ('virsh define')"
        )
    if scope is Scope.LIVE and not guest.is_active:
        raise errors.Refused(
            f"domain {guest.name!r} is {guest.state}: nothing can be plugged"
            " into it; run this without --live"
        )
    definitions.require_unsaved(hypervisor, uuid)
    definition = live = None
    if guest.is_persistent and scope is not Scope.LIVE:
        definition = definitions.read(hypervisor, uuid)
    if guest.is_active and scope is not Scope.CONFIG:
        xml = hypervisor.live_xml(uuid)
        live = xml and domain_xml.parse(xml.encode(), f"guest {uuid}")
    target = Target(guest.name, definition, live or None)
    if not target.documents:
        raise errors.Conflict(
            f"domain {guest.name!r} ended, or was undefined, just now; run"
            " this again"
        )
    for document in target.documents:
        assignment.refuse_taken(document, context.records())
        preparation.require_spared(context, document)
    return target


def _existing(hypervisor: Hypervisor, uuid: str) -> LibvirtDomain:
    guest = hypervisor.domain(uuid)
    if guest is None:
        raise errors.Refused(
            f"libvirt has no domain of UUID {uuid}; see 'virsh list --all'"
        )
    return guest


def _require_free_of_units(context: HostContext, guest: LibvirtDomain) -> None:
    """Raise if a domain is an instance already, on this host or another."""
    uuid = guest.uuid
    instance, held = _instance(context, uuid)
    if instance is None and all(r.state is State.CLAIMED for r in held):
        return
    units = ", ".join(str(r.unit.key) for r in held) or "what it had"
    verb = "release"
    if instance is not None and instance.phase is Phase.ATTACHED:
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
    records: Records,
    step: Step,
    *,
    is_live: bool,
) -> Instance:
    step("define")
    units = preparation.units_of(records)
    places = preparation.guest_places(context, domain, units)
    instance = dataclasses.replace(
        instance,
        definition=definitions.planned(units, places),
        is_live=is_live,
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
    return instance


def _plug(
    context: HostContext,
    hypervisor: Hypervisor,
    instance: Instance,
    records: Records,
    step: Step,
) -> Instance:
    """Plug every function into the running guest, and check that it has them.

    They are bound first: VFIO takes no function of a group of which another
    driver has one.
    """
    instance = dataclasses.replace(instance, is_live=True)
    instance, records = preparation.prepare(context, instance, records, step)
    instance = dataclasses.replace(instance, was_started=True)
    context.journal.write(instance)
    for unit in preparation.units_of(records):
        for function in unit.functions:
            step(f"plug {function.address}")
            _plug_one(hypervisor, instance.uuid, function.address)
    step("check the guest")
    faults = guest_faults(context, hypervisor, instance)
    if faults:
        raise errors.Refused("; ".join(faults))
    step("activate")
    preparation.move(context, records, State.ACTIVE)
    return instance


def _plug_one(hypervisor: Hypervisor, uuid: str, function: Address) -> None:
    try:
        hypervisor.plug(uuid, attachment.hostdev_xml(function))
    except errors.Refused as error:
        raise errors.Refused(
            f"{error}; each function needs a slot of its own that the guest"
            " was started with, as of a pcie-root-port (--config gives a"
            " defined domain its units at its next start)"
        ) from error


def _summary(target: Target, units: tuple[Unit, ...]) -> str:
    names = ", ".join(str(unit.key) for unit in units)
    when = "from its next start on"
    if target.live is not None:
        when = "now, and from each start on"
        if target.definition is None:
            when = "now, until it stops"
    return f"domain {target.name!r} has {names} {when}"


def _undo(
    context: HostContext, hypervisor: Hypervisor, begun: Instance
) -> str:
    return preparation.undone(
        context,
        begun,
        lambda instance: attach_recovery.undo_attach(
            context, hypervisor, instance, _ROLLBACK_WAIT_S
        ),
    )


def detach(
    context: HostContext,
    uuid: str,
    keys: Collection[UnitKey] = (),
    *,
    wait_s: float = 0,
) -> tuple[UnitRecord, ...]:
    """Take units from a domain, then reset, check and free them.

    From the running guest, if it has them, and from the definition.  Return
    them.

    :param keys: units to detach; none for all.
    :param wait_s: how long the guest may take to give them up.
    :raises Refused: when the domain has none of them, or does not give one
        up: then all stay its own.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        settled, leaving = _detachable(context, hypervisor, uuid, keys)
        instance = dataclasses.replace(
            settled,
            phase=Phase.DETACHING,
            detaching=tuple(r.unit.key.address for r in leaving),
        )
        context.journal.write(instance)
        functions = attach_recovery.leaving_functions(context, instance)
        try:
            attach_recovery.unplug(
                context, hypervisor, uuid, functions, wait_s
            )
        except errors.Refused as error:
            context.journal.write(settled)
            raise errors.Refused(
                f"{error}; its units stay {State.ACTIVE}: run this again, or"
                " shut the guest down and run this then"
            ) from error
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
    if instance is None or instance.phase is not Phase.ATTACHED:
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
    definitions.require_unsaved(hypervisor, uuid)
    chosen = tuple(r for r in held if not keys or r.unit.key in keys)
    return instance, chosen

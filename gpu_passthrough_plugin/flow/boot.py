"""Boot an instance: claim units, attach them, start the guest, check it."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment, attachment
from gpu_passthrough_plugin.flow import (
    definitions,
    preparation,
)
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.guest_functions import guest_faults
from gpu_passthrough_plugin.flow.preparation import Records, Step
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.flow.teardown import (
    give_back,
)
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

_TRANSIENT = "it is transient: libvirt forgets it when it stops"


class Keeping(enum.Enum):
    """Whether libvirt keeps the domain of a guest that is booted."""

    TRANSIENT = enum.auto()
    DEFINED = enum.auto()
    AUTOSTARTED = enum.auto()


def boot(
    context: HostContext,
    domain: Domain,
    request: Request,
    keeping: Keeping = Keeping.TRANSIENT,
) -> Allocation:
    """Start a guest with the units that it requests; return what it holds.

    The running guest is checked in libvirt and in sysfs.

    :raises Error: when a step fails, with its name; every step before it was
        rolled back.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        domain = _checked(context, hypervisor, domain, keeping)
        instance = Instance(
            uuid=domain.uuid,
            name=domain.name,
            request=str(request),
            phase=Phase.BOOTING,
            keeps_claim=bool(context.held(domain.uuid)),
            was_started=False,
            own=domain.host_functions.addresses,
        )
        context.journal.write(instance)
        context.ledger.name_consumer(domain.uuid, domain.name)
        with preparation.rolled_back_on_error(
            "boot", lambda: _undo(context, hypervisor, instance)
        ) as step:
            records = preparation.claim(context, instance, request, step)
            if keeping is Keeping.TRANSIENT:
                bound, records = preparation.prepare(
                    context, instance, records, step
                )
                _start(context, hypervisor, domain, bound, records, step)
            else:
                _start_defined(
                    context, hypervisor, domain, instance, records,
                    step, is_autostarted=keeping is Keeping.AUTOSTARTED,
                )  # fmt: skip
    return context.ledger.allocation(domain.uuid)


def plan(
    context: HostContext, domain: Domain, request: Request, keeping: Keeping
) -> tuple[str, tuple[Unit, ...]]:
    """Return the UUID and the units that ``boot`` would take now.

    Nothing is changed.

    :raises Error: when ``boot`` would refuse.
    """
    with context.connect() as hypervisor:
        domain = _checked(context, hypervisor, domain, keeping)
    return domain.uuid, preparation.planned_units(
        context, domain.uuid, request
    )


def _checked(
    context: HostContext,
    hypervisor: Hypervisor,
    domain: Domain,
    keeping: Keeping,
) -> Domain:
    """Return a domain that may be booted, with the UUID that libvirt has.

    :raises Error: when it may not.
    """
    domain = _as_defined(hypervisor, domain)
    assignment.refuse_taken(domain, context.records())
    preparation.require_spared(context, domain)
    _require_absent(context, hypervisor, domain)
    is_defined = hypervisor.named(domain.name) is not None
    if is_defined and keeping is not Keeping.TRANSIENT:
        raise errors.Refused(
            f"libvirt has domain {domain.name!r} defined already; run"
            f" 'gpu-passthrough instance attach {domain.uuid} --request"
            f" ALIAS:N', then 'virsh start {domain.uuid}'"
        )
    return domain


def _start(
    context: HostContext,
    hypervisor: Hypervisor,
    domain: Domain,
    instance: Instance,
    records: Records,
    step: Step,
) -> None:
    step("start")
    places = preparation.guest_places(
        context, domain, preparation.units_of(records)
    )
    instance = dataclasses.replace(instance, was_started=True)
    context.journal.write(instance)
    hypervisor.start(attachment.attached(domain, places))
    context.say(f"started guest {domain.name} ({domain.uuid}); {_TRANSIENT}")
    _check_and_activate(context, hypervisor, instance, records, step)
    context.journal.write(dataclasses.replace(instance, phase=Phase.ACTIVE))


def _start_defined(
    context: HostContext,
    hypervisor: Hypervisor,
    domain: Domain,
    instance: Instance,
    records: Records,
    step: Step,
    *,
    is_autostarted: bool,
) -> None:
    """Define the domain with its units, and start it.

    libvirt binds the functions, at this start as at each.
    """
    step("define")
    units = preparation.units_of(records)
    places = preparation.guest_places(context, domain, units)
    definition = definitions.planned(units, places)._replace(is_own=True)
    instance = dataclasses.replace(
        instance, was_started=True, definition=definition
    )
    context.journal.write(instance)
    records = preparation.move(context, records, State.PREPARING)
    xml = definitions.text(context, domain, units, places)
    # libvirt would replace it.
    if hypervisor.domain(domain.uuid) is not None:
        raise errors.Conflict(
            f"domain {domain.name!r} was defined while this command ran; run"
            " it again"
        )
    hypervisor.define(xml)
    if is_autostarted:
        hypervisor.set_autostart(domain.uuid)
    step("start")
    hypervisor.start_defined(domain.uuid)
    how = "started with the host" if is_autostarted else "kept by libvirt"
    context.say(f"started guest {domain.name} ({domain.uuid}); it is {how}")
    _check_and_activate(context, hypervisor, instance, records, step)
    # libvirt adds to a definition when it starts it.
    instance = definitions.with_digest(hypervisor, instance)
    context.journal.write(definitions.settled(instance))


def _check_and_activate(
    context: HostContext,
    hypervisor: Hypervisor,
    instance: Instance,
    records: Records,
    step: Step,
) -> None:
    step("check the guest")
    faults = guest_faults(context, hypervisor, instance)
    if faults:
        raise errors.Refused("; ".join(faults))
    context.say("checked: the guest has exactly the claimed functions")
    step("activate")
    preparation.move(context, records, State.ACTIVE)


def _undo(
    context: HostContext, hypervisor: Hypervisor, begun: Instance
) -> str:
    return preparation.undone(
        context,
        begun,
        lambda instance: give_back(context, hypervisor, instance),
    )


def _require_absent(
    context: HostContext, hypervisor: Hypervisor, domain: Domain
) -> None:
    busy = [r for r in context.held(domain.uuid) if r.state != State.CLAIMED]
    if busy or context.journal.read(domain.uuid) is not None:
        raise errors.Refused(
            f"instance {domain.uuid} exists already; run 'gpu-passthrough"
            f" instance release {domain.uuid}' first"
        )
    if hypervisor.live_xml(domain.uuid) is not None:
        raise errors.Refused(
            f"a guest with UUID {domain.uuid} is running; shut it down, or"
            " give this domain another UUID and name"
        )
    other = hypervisor.domain(domain.uuid)
    if other is not None and other.name != domain.name:
        raise errors.Refused(
            f"libvirt already has UUID {domain.uuid}, as domain"
            f" {other.name!r}; give this domain another UUID"
        )
    defined = hypervisor.named(domain.name)
    if defined is None:
        return
    if defined.uuid != domain.uuid:
        raise errors.Refused(
            f"libvirt already has a domain named {domain.name!r}, with UUID"
            f" {defined.uuid}; give this domain that UUID, or another name"
        )
    if defined.has_saved_state:
        raise errors.Refused(
            f"libvirt saved the memory of domain {domain.name!r} for its next"
            f" start; discard that with 'virsh managedsave-remove"
            f" {defined.uuid}', then run this again"
        )


def _as_defined(hypervisor: Hypervisor, domain: Domain) -> Domain:
    """Return the domain with the UUID that libvirt gave to its name.

    As of a document that 'virsh define' read, which has no UUID of its own.
    """
    defined = None if domain.has_own_uuid else hypervisor.named(domain.name)
    if defined is None:
        return domain
    return dataclasses.replace(domain, uuid=defined.uuid)

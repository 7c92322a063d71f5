"""Boot an instance: claim units, attach them, start the guest, check it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment, attachment, bar_space
from gpu_passthrough_plugin.compute.attachment import GuestSlot
from gpu_passthrough_plugin.compute.bar_space import HostCpu
from gpu_passthrough_plugin.discovery import facts, function_bars
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.flow.context import HostContext, require_current
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.flow.teardown import (
    give_back,
    guest_faults,
    present_rebinds,
)
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.function import Rebind
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

Step = Callable[[str], None]
Records = tuple[UnitRecord, ...]


def boot(context: HostContext, domain: Domain, request: Request) -> Allocation:
    """Start a guest with the units that it requests; return what it holds.

    The running guest is checked in libvirt and in sysfs.

    :raises Error: when a step fails, with its name; every step before it was
        rolled back.
    """
    with locked_and_recovered(context), context.connect() as hypervisor:
        domain = _as_defined(hypervisor, domain)
        assignment.refuse_taken(domain, context.records())
        _require_spared(context, domain)
        _require_absent(context, hypervisor, domain)
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
        with _rolled_back_on_error(context, hypervisor, instance) as step:
            records = _claim(context, instance, request, step)
            instance, records = _prepare(context, instance, records, step)
            _start(context, hypervisor, domain, instance, records, step)
    return context.ledger.allocation(domain.uuid)


def _claim(
    context: HostContext, instance: Instance, request: Request, step: Step
) -> Records:
    step("claim")
    allocation = context.ledger.claim(
        request, instance.uuid, host=context.host
    )
    units = _units(allocation.units)
    context.say(f"claimed {', '.join(str(unit.key) for unit in units)}")
    step("compare with the ledger")
    require_current(context, units)
    step("look for other users")
    for unit in units:
        context.devices.require_idle(unit.key.address)
    return allocation.units


def _prepare(
    context: HostContext, instance: Instance, records: Records, step: Step
) -> tuple[Instance, Records]:
    step("prepare")
    units = _units(records)
    instance = dataclasses.replace(
        instance, rebinds=present_rebinds(context, units)
    )
    context.journal.write(instance)
    records = _move(context, records, State.PREPARING)
    step("bind")
    context.devices.prepare()
    for rebind in instance.rebinds:
        context.devices.rebind(rebind)
        context.say(_describe(rebind))
    return instance, records


def _start(
    context: HostContext,
    hypervisor: Hypervisor,
    domain: Domain,
    instance: Instance,
    records: Records,
    step: Step,
) -> None:
    step("start")
    places = attachment.places(
        _units(records),
        is_pcie=domain.is_pcie,
        buses=domain.buses,
        slots=domain.slots,
    )
    _warn_of_bars(context, domain, places)
    instance = dataclasses.replace(instance, was_started=True)
    context.journal.write(instance)
    hypervisor.start(attachment.attached(domain, places))
    context.say(f"started guest {domain.name} ({domain.uuid})")
    step("check the guest")
    faults = guest_faults(context, hypervisor, instance)
    if faults:
        raise errors.Refused("; ".join(faults))
    context.say("checked: the guest has exactly the claimed functions")
    step("activate")
    _move(context, records, State.ACTIVE)
    context.journal.write(dataclasses.replace(instance, phase=Phase.ACTIVE))


def _warn_of_bars(
    context: HostContext, domain: Domain, places: Sequence[GuestSlot]
) -> None:
    """Say if the guest cannot map the BARs of what it is given.

    It starts all the same: its kernel may know a way.
    """
    own = domain.host_functions.addresses
    slots = (*(place.functions for place in places), *((a,) for a in own))
    tree = context.tree
    warning = bar_space.warning(
        domain,
        slots,
        {a: function_bars.bars(tree, a) for slot in slots for a in slot},
        HostCpu(facts.cpu_vendor(tree), facts.address_bits(tree)),
    )
    if warning:
        context.say(f"warning: {warning}")


def _describe(rebind: Rebind) -> str:
    address, driver = rebind.address, rebind.becomes.driver
    if rebind.was.driver == driver:
        return f"{address} is already on {driver}; kept there"
    former = (
        f"was on {rebind.was.driver}" if rebind.was.driver else "had no driver"
    )
    return f"bound {address} to {driver} ({former})"


def _units(records: Records) -> tuple[Unit, ...]:
    return tuple(record.unit for record in records)


def _move(context: HostContext, records: Records, state: State) -> Records:
    """Move units to a state; return their new records.

    :raises Conflict: when a record changed meanwhile: the lock was lost, or
        the claim was withdrawn on another host.
    """
    return tuple(context.ledger.move(record, state) for record in records)


@contextmanager
def _rolled_back_on_error(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> Iterator[Step]:
    """Undo the steps when one fails; add what was undone to the error."""
    steps = ["begin"]
    try:
        yield steps.append
    except errors.Error as error:
        message = f"boot failed at step '{steps[-1]}': {error}; rolled back: "
        message += _undo(context, hypervisor, instance)
        if isinstance(error, errors.NoValidHost):
            raise errors.NoValidHost(message) from error
        if isinstance(error, errors.Refused):
            raise errors.Refused(message) from error
        raise errors.Unavailable(message) from error
    except BaseException:
        # Ctrl-C, SIGTERM or a bug.
        _undo(context, hypervisor, instance)
        raise


def _undo(
    context: HostContext, hypervisor: Hypervisor, begun: Instance
) -> str:
    """Undo an interrupted boot; return what was undone, for the message.

    :param begun: the instance as the boot began.  The journal has more of it,
        unless another command took the boot for dead and undid it.
    """
    try:
        instance = context.journal.read(begun.uuid) or begun
        done = give_back(context, hypervisor, instance)
    except errors.Error as error:
        return (
            f"incomplete ({error}); the next gpu-passthrough command on this"
            " host finishes it"
        )
    return ", ".join(done) or "nothing was changed"


def _require_spared(context: HostContext, domain: Domain) -> None:
    """Raise if the domain's own XML takes a function that the host needs.

    :raises Refused: also when whether it does is unknown.
    """
    own = domain.host_functions.addresses
    parts = host_snapshot.read_groups(context.tree, context.policy, own)
    needed = host_snapshot.unspared(context.tree, parts) if parts else {}
    for part in parts:
        reasons = [
            needed[member.address]
            for member in part.members
            if member.address in needed
        ]
        if reasons:
            raise errors.Refused(
                f"domain {domain.name!r} itself passes through functions of"
                f" IOMMU group {part.number}, which stays with the host:"
                f" {'; '.join(reasons)}; remove them from the XML"
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

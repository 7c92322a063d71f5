"""What a boot and an attach do alike: check, claim, place, and roll back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import attachment, bar_space
from gpu_passthrough_plugin.compute.attachment import GuestSlot
from gpu_passthrough_plugin.compute.bar_space import HostCpu
from gpu_passthrough_plugin.discovery import facts, function_bars
from gpu_passthrough_plugin.flow import host_snapshot, unit_health
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_unused,
)
from gpu_passthrough_plugin.flow.teardown import present_rebinds
from gpu_passthrough_plugin.formats.domain_xml import Domain
from gpu_passthrough_plugin.model.function import Rebind
from gpu_passthrough_plugin.model.instance import Instance
from gpu_passthrough_plugin.model.metric import CountedEvent
from gpu_passthrough_plugin.model.request import Request
from gpu_passthrough_plugin.model.unit import State, Unit, UnitRecord

Step = Callable[[str], None]
Records = tuple[UnitRecord, ...]


def require_spared(context: HostContext, domain: Domain) -> None:
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


def planned_units(
    context: HostContext, uuid: str, request: Request
) -> tuple[Unit, ...]:
    """Return the units that a claim would take now; change nothing.

    :raises NoValidHost: when this host has too few free ones.
    """
    held = tuple(record.unit for record in context.held(uuid))
    if not held:
        best = context.ledger.candidates(request, host=context.host, limit=1)
        if not best:
            raise context.ledger.no_valid_host(request, host=context.host)
        keys = {free.unit.key for free in best[0].units}
        records = context.records()
        held = tuple(r.unit for r in records if r.unit.key in keys)
    require_current(context, held)
    _require_idle(context, held, uuid)
    return held


def claim(
    context: HostContext, instance: Instance, request: Request, step: Step
) -> Records:
    """Claim units for an instance; return these, which nothing uses."""
    step("claim")
    try:
        allocation = context.ledger.claim(
            request, instance.uuid, host=context.host
        )
    except errors.Conflict:
        context.count(CountedEvent.CLAIM_CONFLICT, "command")
        raise
    units = units_of(allocation.units)
    context.say(f"claimed {', '.join(str(unit.key) for unit in units)}")
    step("compare with the ledger")
    require_current(context, units)
    step("look for other users")
    _require_idle(context, units, instance.uuid)
    return allocation.units


def _require_idle(
    context: HostContext, units: Sequence[Unit], uuid: str
) -> None:
    """Raise if anything but an instance uses the units, or left them dirty."""
    for unit in units:
        functions = {function.address for function in unit.functions}
        context.journal.require_free(functions, uuid)
        context.devices.require_idle(unit.key.address)
    require_unused(context, present_rebinds(context, units))


def prepare(
    context: HostContext, instance: Instance, records: Records, step: Step
) -> tuple[Instance, Records]:
    """Bind an instance's functions to a VFIO driver, after noting theirs."""
    step("prepare")
    units = units_of(records)
    instance = dataclasses.replace(
        instance, rebinds=present_rebinds(context, units)
    )
    context.journal.write(instance)
    records = move(context, records, State.PREPARING)
    step("bind")
    context.devices.prepare()
    for rebind in instance.rebinds:
        context.devices.rebind(rebind)
        context.say(_describe(rebind))
    for unit in units:
        if unit_health.baseline(context, unit) is None:
            unit_health.remember(context, unit)
    return instance, records


def _describe(rebind: Rebind) -> str:
    address, driver = rebind.address, rebind.becomes.driver
    if rebind.was.driver == driver:
        return f"{address} is already on {driver}; kept there"
    former = (
        f"was on {rebind.was.driver}" if rebind.was.driver else "had no driver"
    )
    return f"bound {address} to {driver} ({former})"


def units_of(records: Records) -> tuple[Unit, ...]:
    """Return the units of records."""
    return tuple(record.unit for record in records)


def move(context: HostContext, records: Records, state: State) -> Records:
    """Move units to a state; return their new records.

    :raises Conflict: when a record changed meanwhile: the lock was lost, or
        the claim was withdrawn on another host.
    """
    return tuple(context.ledger.move(record, state) for record in records)


def guest_places(
    context: HostContext, domain: Domain, units: Sequence[Unit]
) -> tuple[GuestSlot, ...]:
    """Return where units go in a guest; say if it cannot map their BARs.

    It may start all the same: its kernel may know a way.

    :raises Refused: when it has too few free slots.
    """
    places = attachment.places(
        units,
        is_pcie=domain.is_pcie,
        buses=domain.buses,
        slots=domain.slots,
    )
    _warn_of_bars(context, domain, places)
    return places


def _warn_of_bars(
    context: HostContext, domain: Domain, places: Sequence[GuestSlot]
) -> None:
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


@contextmanager
def rolled_back_on_error(verb: str, undo: Callable[[], str]) -> Iterator[Step]:
    """Undo the steps when one fails; add what was undone to the error.

    :param undo: returns what it undid, for the message.
    """
    steps = ["begin"]
    try:
        yield steps.append
    except errors.Error as error:
        message = (
            f"{verb} failed at step '{steps[-1]}': {error}; rolled back:"
            f" {undo()}"
        )
        if isinstance(error, errors.NoValidHost):
            raise errors.NoValidHost(message) from error
        if isinstance(error, errors.Refused):
            raise errors.Refused(message) from error
        raise errors.Unavailable(message) from error
    except BaseException:
        # Ctrl-C, SIGTERM or a bug.
        undo()
        raise


def undone(
    context: HostContext,
    begun: Instance,
    undo: Callable[[Instance], tuple[str, ...]],
) -> str:
    """Undo an interrupted command; return what was undone, for the message.

    :param begun: the instance as the command began.  The journal has more of
        it, unless another command took this one for dead and undid it.
    """
    try:
        done = undo(context.journal.read(begun.uuid) or begun)
    except errors.Error as error:
        return (
            f"incomplete ({error}); the next gpu-passthrough command on this"
            " host finishes it"
        )
    return ", ".join(done) or "nothing was changed"

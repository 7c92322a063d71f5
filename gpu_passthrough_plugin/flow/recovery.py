"""What died half way is finished or undone, from three truths.

The ledger, the journal with sysfs behind it, and libvirt are held against
each other under the host's lock, so that nobody else is at it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute import assignment
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.teardown import give_back, guest_faults
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State

_RETRY_S = 5
# Units in these states are in the middle of an act.
_UNFINISHED = (State.PREPARING, State.RELEASING, State.SANITISING)


def release_ended(
    context: HostContext, uuid: str, *, patience_s: float = 0
) -> None:
    """Release the units of a guest that libvirt reported as ended.

    This is what every command does before its own work: what is releasing
    and in no journal is reset and freed.  What the libvirt hook claimed,
    and died before it was active, was never the guest's.

    :param patience_s: how long to retry while the lock, the ledger or
        libvirt does not answer.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            _release_ended(context, uuid)
        except errors.Unavailable as error:
            if time.monotonic() > until:
                raise
            context.say(f"{error}; retrying")
            time.sleep(_RETRY_S)
        else:
            return


def _release_ended(context: HostContext, uuid: str) -> None:
    with quiet(context):
        claimed = [r for r in context.held(uuid) if r.state is State.CLAIMED]
        if (
            not claimed
            or context.ledger.allocation(uuid).request != HOOK_REQUEST
        ):
            return
        for record in claimed:
            context.ledger.move(record, State.FREE)
            context.say(f"unit {record.unit.key} is free")


@contextmanager
def quiet(context: HostContext, *, but: str | None = None) -> Iterator[None]:
    """The host's lock, with nothing left half done by who died.

    :param but: an instance that the caller is about to release itself.
    """
    with context.lock():
        unfinished = _unfinished(context, but)
        for instance in unfinished:
            if instance.is_stopped:
                _undo(context, None, instance)
        running = [i for i in unfinished if not i.is_stopped]
        if running:
            with context.connect() as hypervisor:
                for instance in running:
                    _recover(context, hypervisor, instance)
        yield


def _unfinished(context: HostContext, but: str | None) -> list[Instance]:
    journal = context.journal.instances()
    _require_same_host(context, journal)
    known = {instance.uuid for instance in journal} | {but}
    found = [
        instance
        for instance in journal
        if instance.phase in (Phase.BOOTING, Phase.RELEASING)
        and instance.uuid != but
    ]
    holders = {r.consumer for r in context.records(_UNFINISHED)}
    return found + [
        _unknown(context, uuid)
        for uuid in sorted(filter(None, holders - known))
    ]


def _unknown(context: HostContext, uuid: str) -> Instance:
    """An instance that the journal does not know.

    The libvirt hook keeps none: a guest whose units are being given back,
    and whose groups nobody holds, is one that ended, and that libvirt may
    be starting anew while this is done.  What was claimed for it before it
    started stays so.
    """
    instance = Instance(uuid)
    held = [r for r in context.held(uuid) if r.state in _UNFINISHED]
    units = tuple(r.unit for r in held)
    try:
        if any(r.state is State.PREPARING for r in held):
            return instance
        for unit in units:
            context.devices.require_idle(unit.key.address)
        rebinds = assignment.rebinds(units, context.bindings(units))
    except errors.Error:
        return instance
    return dataclasses.replace(
        instance,
        is_stopped=True,
        keeps_claim=context.ledger.allocation(uuid).request != HOOK_REQUEST,
        rebinds=rebinds,
    )


def _require_same_host(
    context: HostContext, journal: Sequence[Instance]
) -> None:
    """Nothing, where the ledger has what is bound here on this very host.

    Under another name its units would be published a second time, and the
    former drivers of what was left half done be forgotten.
    """
    bound = {instance.uuid for instance in journal if instance.rebinds}
    for held in context.ledger.allocations() if bound else ():
        if held.consumer in bound and held.host != context.host:
            raise errors.Refused(
                f"instance {held.consumer} of this host is on host"
                f" {held.host} in the ledger, and this is {context.host}: was"
                f" it renamed? set [DEFAULT] host = {held.host}"
            )


def _recover(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    if _is_up(context, hypervisor, instance):
        context.move(instance.uuid, State.PREPARING, State.ACTIVE)
        context.journal.write(
            dataclasses.replace(instance, phase=Phase.ACTIVE)
        )
        context.say(f"finished the boot of {instance.uuid}, cut off before")
        return
    _undo(context, hypervisor, instance)


def _undo(
    context: HostContext, hypervisor: Hypervisor | None, instance: Instance
) -> None:
    said = "undoing what was left half done of"
    if instance.is_stopped:
        said = "giving back the units of the guest that ended,"
    context.say(f"{said} {instance.uuid}")
    # A boot that was cut off leaves the host as it was before it.
    is_boot = instance.phase is Phase.BOOTING
    give_back(
        context,
        hypervisor,
        instance,
        restores_drivers=is_boot or context.restores_drivers,
    )


def _is_up(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> bool:
    """Whether a boot got as far as a guest with exactly its claim."""
    if instance.phase is not Phase.BOOTING or not instance.was_started:
        return False
    records = context.held(instance.uuid)
    states = {record.state for record in records}
    return (
        bool(records)
        and states <= {State.PREPARING, State.ACTIVE}
        and not guest_faults(context, hypervisor, instance)
    )

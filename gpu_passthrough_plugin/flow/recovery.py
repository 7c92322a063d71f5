"""Complete or undo what an interrupted command left.

Compares the ledger, the host's journal with sysfs, and libvirt, under the
host's lock, so that no other command acts meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import (
    attach_recovery,
    definitions,
    ended_guests,
)
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.flow.guest_functions import (
    guest_faults,
    is_without,
)
from gpu_passthrough_plugin.flow.teardown import give_back, quarantine_unused
from gpu_passthrough_plugin.host.ended_guests import EndedGuest
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.agent_state import FENCED
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import (
    INTERRUPTED,
    Instance,
    Phase,
)
from gpu_passthrough_plugin.model.unit import State, UnitRecord

if TYPE_CHECKING:
    from gpu_passthrough_plugin.host.hypervisor import Hypervisor

_RETRY_S = 5
# Units in these states are in the middle of an act.
_UNFINISHED = (State.PREPARING, State.RELEASING, State.SANITISING)


def release_ended(
    context: HostContext, uuid: str, *, patience_s: float = 0
) -> None:
    """Release the units of a guest that libvirt reported as ended.

    Every command does so before its own work: units that are being released
    and are in no journal are reset and freed.  Units that the libvirt hook
    claimed without making them active never reached the guest.

    :param patience_s: how long to retry while the lock, the ledger or
        libvirt does not answer.
    """
    if patience_s:
        _release_patiently(context, uuid, patience_s)
    else:
        _release_ended(context, uuid)


def _release_patiently(
    context: HostContext, uuid: str, patience_s: float
) -> None:
    """Retry for a while; one process does so for all guests that ended."""
    attempted: frozenset[EndedGuest] = frozenset()
    is_over = False
    while not is_over:
        with context.ended.finishing() as is_first:
            if not is_first:
                context.say("another process releases what ended")
                return
            attempted = _release_retried(context, uuid, patience_s)
        # Another one may have left what ended since to this one.
        is_over = attempted.issuperset(context.ended.entries()[0])


def _release_retried(
    context: HostContext, uuid: str, patience_s: float
) -> frozenset[EndedGuest]:
    """Return the guests that ended before the last attempt began."""
    ended: frozenset[EndedGuest] = frozenset()
    until = time.monotonic() + patience_s
    while True:
        before, ended = ended, frozenset(context.ended.entries()[0])
        if ended - before:
            until = time.monotonic() + patience_s
        try:
            _release_ended(context, uuid)
        except errors.Unavailable as error:
            if time.monotonic() > until:
                raise
            context.say(f"{error}; retrying")
            time.sleep(_RETRY_S)
        else:
            return ended


def _release_ended(context: HostContext, uuid: str) -> None:
    with locked_and_recovered(context):
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
def locked_and_recovered(
    context: HostContext, *, except_uuid: str | None = None
) -> Iterator[None]:
    """Hold the host's lock, after completing what was interrupted.

    :param except_uuid: an instance that the caller releases itself.
    """
    with context.lock():
        journal = context.journal.instances()
        _require_same_host(context, journal)
        interrupted = [
            instance
            for instance in journal
            if instance.phase in INTERRUPTED and instance.uuid != except_uuid
        ]
        # libvirt starts and stops these, as guests of the hook.
        attached = {i.uuid: i for i in journal if i.phase is Phase.ATTACHED}
        in_journal = {i.uuid for i in journal if i.uuid not in attached}
        ended = ended_guests.take_up(
            context, in_journal, except_uuid, attached
        )
        others = _others(context, in_journal | {except_uuid}, attached)
        for instance in (*interrupted, *others):
            if instance.is_stopped:
                _undo(context, None, instance)
        interrupted = [i for i in interrupted if not i.is_stopped]
        others = [i for i in others if not i.is_stopped]
        if interrupted or others:
            with context.connect() as hypervisor:
                for instance in interrupted:
                    _recover(context, hypervisor, instance)
                for instance in others:
                    _recover_other(context, hypervisor, instance)
        ended_guests.forget(context, ended)
        yield


def _others(
    context: HostContext,
    excepted: Collection[str | None],
    attached: Mapping[str, Instance],
) -> list[Instance]:
    """Return what has unfinished units here, and no command acts on.

    :param attached: instances whose domain libvirt starts and stops.
    """
    holders = {r.consumer for r in context.records(_UNFINISHED)}
    return [
        _instance_of_hook(context, attached.get(uuid) or Instance(uuid))
        for uuid in sorted(filter(None, holders.difference(excepted)))
    ]


def _instance_of_hook(context: HostContext, instance: Instance) -> Instance:
    """Return an instance whose guest libvirt starts and stops.

    The libvirt hook writes no journal.  A guest whose units are being
    released, and whose groups no process uses, has ended; libvirt may start
    it again meanwhile.  Units that were claimed before the guest started stay
    claimed.
    """
    uuid = instance.uuid
    is_defined = instance.definition is not None
    instance = dataclasses.replace(instance, keeps_definition=is_defined)
    records = context.held(uuid)
    is_prepared = any(r.state is State.PREPARING for r in records)
    # Its other units as well: while it has one of them it has not ended.
    if is_prepared or any(
        why_busy(context, record.unit)
        for record in records
        if record.state is not State.CLAIMED
    ):
        return instance
    request = context.ledger.allocation(uuid).request
    is_claimed = (
        instance.phase is not Phase.ATTACHED and request != HOOK_REQUEST
    )
    return dataclasses.replace(
        instance, is_stopped=True, keeps_claim=is_defined or is_claimed
    )


def _require_same_host(
    context: HostContext, journal: Sequence[Instance]
) -> None:
    """Raise if the ledger has this host's instances under another host name.

    Under a new name the host's units would be published a second time, and
    the former drivers of interrupted instances would be lost.
    """
    bound = {i.uuid for i in journal if i.rebinds or i.definition}
    if not bound:
        return
    # Only this host's units, and only these consumers: what other hosts wrote
    # must not keep this one from its work.
    records = context.records()
    here = {record.consumer for record in records}
    if bound <= here or _is_fenced(context, records):
        return
    for uuid in sorted(bound - here):
        try:
            allocation = context.ledger.allocation(uuid)
        except errors.Refused:
            continue
        if allocation.host != context.host:
            raise errors.Refused(
                f"instance {uuid} of this host ({context.host}) is on host"
                f" {allocation.host} in the ledger; if this host was renamed,"
                f" set [DEFAULT] host = {allocation.host}"
            )


def _is_fenced(context: HostContext, records: Collection[UnitRecord]) -> bool:
    """Return whether this host was fenced: its instances may be elsewhere."""
    if any(map(agent_state.is_fenced, records)):
        return True
    host = context.ledger.host(context.host)
    return host is not None and host.reason.startswith(FENCED)


def _recover(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Complete or undo what a command left of an instance.

    What its guest, or its domain's definition, does not let through stays as
    it is: other commands are not to wait for that.
    """
    try:
        if instance.phase in (Phase.ATTACHING, Phase.DETACHING):
            attach_recovery.recover(context, hypervisor, instance)
        elif _is_up(context, hypervisor, instance):
            _complete_boot(context, hypervisor, instance)
        else:
            _undo(context, hypervisor, instance)
    except (errors.Refused, errors.Invalid) as error:
        context.say(
            f"instance {instance.uuid} stays {instance.phase}: {error}"
        )


def _complete_boot(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    context.move(instance.uuid, State.PREPARING, State.ACTIVE)
    if instance.definition:
        instance = definitions.with_digest(hypervisor, instance)
        context.journal.write(definitions.settled(instance))
    else:
        context.journal.write(
            dataclasses.replace(instance, phase=Phase.ACTIVE)
        )
    context.say(f"completed the interrupted boot of {instance.uuid}")


def _recover_other(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    """Finish what the ledger alone tells of an instance.

    Every host that shares the ledger can write such a row, with the UUID of
    any guest.  Only a guest that has the units is stopped for them.
    """
    uuid = instance.uuid
    records = [r for r in context.held(uuid) if r.state in _UNFINISHED]
    if is_without(hypervisor, uuid, records):
        quarantine_unused(context, uuid, records)
    elif hypervisor.live_xml(uuid) is None:
        # The journal, which this writes, must not name a guest that runs
        # only later.
        instance = dataclasses.replace(instance, is_stopped=True)
        _undo(context, None, instance)
    else:
        _undo(context, hypervisor, instance)


def _undo(
    context: HostContext, hypervisor: Hypervisor | None, instance: Instance
) -> None:
    title = "rolling back the interrupted work on"
    if instance.is_stopped:
        title = "releasing the units of a guest that ended:"
    context.say(f"{title} {instance.uuid}")
    # An interrupted boot leaves the host as it was before the boot.
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
    """Return whether an interrupted boot started a guest with its claim."""
    if instance.phase is not Phase.BOOTING or not instance.was_started:
        return False
    records = context.held(instance.uuid)
    states = {record.state for record in records}
    return (
        bool(records)
        and states <= {State.PREPARING, State.ACTIVE}
        and not guest_faults(context, hypervisor, instance)
    )

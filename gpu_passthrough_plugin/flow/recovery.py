"""Complete or undo what an interrupted command left.

Compares the ledger, the host's journal with sysfs, and libvirt, under the
host's lock, so that no other command acts meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import ended_guests
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.flow.teardown import (
    give_back,
    guest_faults,
    is_without,
    quarantine_unused,
)
from gpu_passthrough_plugin.host.ended_guests import EndedGuest
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import Instance, Phase
from gpu_passthrough_plugin.model.unit import State

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
            if instance.phase in (Phase.BOOTING, Phase.RELEASING)
            and instance.uuid != except_uuid
        ]
        in_journal = {instance.uuid for instance in journal}
        ended = ended_guests.take_up(context, in_journal, except_uuid)
        others = _others(context, in_journal | {except_uuid})
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
    context: HostContext, excepted: Collection[str | None]
) -> list[Instance]:
    """Return what has unfinished units here and is not in the journal."""
    holders = {r.consumer for r in context.records(_UNFINISHED)}
    return [
        _instance_of_hook(context, uuid)
        for uuid in sorted(filter(None, holders.difference(excepted)))
    ]


def _instance_of_hook(context: HostContext, uuid: str) -> Instance:
    """Return an instance that is not in the journal.

    The libvirt hook writes no journal.  A guest whose units are being
    released, and whose groups no process uses, has ended; libvirt may start
    it again meanwhile.  Units that were claimed before the guest started stay
    claimed.
    """
    records = context.held(uuid)
    is_prepared = any(r.state is State.PREPARING for r in records)
    # Its other units as well: while it has one of them it has not ended.
    if is_prepared or any(
        why_busy(context, record.unit)
        for record in records
        if record.state is not State.CLAIMED
    ):
        return Instance(uuid)
    request = context.ledger.allocation(uuid).request
    return Instance(uuid, is_stopped=True, keeps_claim=request != HOOK_REQUEST)


def _require_same_host(
    context: HostContext, journal: Sequence[Instance]
) -> None:
    """Raise if the ledger has this host's instances under another host name.

    Under a new name the host's units would be published a second time, and
    the former drivers of interrupted instances would be lost.
    """
    bound = {instance.uuid for instance in journal if instance.rebinds}
    if not bound:
        return
    # Only this host's units, and only these consumers: what other hosts wrote
    # must not keep this one from its work.
    here = {record.consumer for record in context.records()}
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


def _recover(
    context: HostContext, hypervisor: Hypervisor, instance: Instance
) -> None:
    if _is_up(context, hypervisor, instance):
        context.move(instance.uuid, State.PREPARING, State.ACTIVE)
        context.journal.write(
            dataclasses.replace(instance, phase=Phase.ACTIVE)
        )
        context.say(f"completed the interrupted boot of {instance.uuid}")
        return
    _undo(context, hypervisor, instance)


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

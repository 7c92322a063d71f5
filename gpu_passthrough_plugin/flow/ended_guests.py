"""Which guests have ended, though the ledger still has units active for them.

The libvirt hook noted them while the ledger did not answer, or it did not
see their end: the host went down, or libvirt died while the guest started.
All of this is done under the host's lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow import instance_sources
from gpu_passthrough_plugin.flow.context import HostContext, why_busy
from gpu_passthrough_plugin.host.ended_guests import EndedGuest
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.reading import Unknown, Why
from gpu_passthrough_plugin.model.unit import State, UnitRecord

# libvirt does not answer about a guest that waits for its units.
_ANSWER_S = instance_sources.LIBVIRT_ANSWER_S
_SHOWN_FAULTS = 5
# What a guest of the hook's has, or was about to have.
_STARTED = (State.ACTIVE, State.CLAIMED)


def take_up(
    context: HostContext,
    journal: Collection[str],
    except_uuid: str | None,
    attached: Collection[str] = (),
) -> tuple[EndedGuest, ...]:
    """Move the units of guests that ended to ``releasing``; return these.

    :param journal: UUIDs of instances in this host's journal, which
        ``instance release`` releases.
    :param except_uuid: an instance that the caller releases itself.
    :param attached: instances that keep their claim while they do not run.
    """
    noted, faults = context.ended.entries()
    for line in faults[:_SHOWN_FAULTS]:
        context.say(line)
    if len(faults) > _SHOWN_FAULTS:
        context.say(f"and {len(faults) - _SHOWN_FAULTS} more such entries")
    libvirt = _Libvirt(context)
    taken = []
    for guest in noted:
        if guest.uuid == except_uuid:
            continue
        if guest.uuid in journal:
            context.ended.remove(guest)
        elif _take_up(context, libvirt, guest, attached):
            taken.append(guest)
    settled = {except_uuid, *journal, *(guest.uuid for guest in noted)}
    for uuid, records in _holders(context, settled):
        suspect = _suspect(context, uuid, records, attached)
        if suspect and _take_up(context, libvirt, suspect, attached):
            taken.append(suspect)
    return tuple(taken)


def _holders(
    context: HostContext, settled: Collection[str | None]
) -> list[tuple[str, list[UnitRecord]]]:
    """Return other guests with the units that they have or are to have."""
    holders: dict[str, list[UnitRecord]] = {}
    for record in context.records(_STARTED):
        if record.consumer and record.consumer not in settled:
            holders.setdefault(record.consumer, []).append(record)
    return sorted(holders.items())


def forget(context: HostContext, guests: Iterable[EndedGuest]) -> None:
    """Remove the entries of guests that have nothing left to release."""
    for guest in guests:
        states = {record.state for record in context.held(guest.uuid)}
        if states <= {State.CLAIMED}:
            context.ended.remove(guest)


def _suspect(
    context: HostContext,
    uuid: str,
    records: Sequence[UnitRecord],
    attached: Collection[str],
) -> EndedGuest | None:
    """Note a guest that may have ended, or never started, without an entry.

    The entry is written before libvirt is asked, so that a start that the
    question does not show waits for the release.

    :param records: of its units that it has or is about to have.
    """
    if uuid in attached:
        # What is only claimed stays so while the guest does not run.
        records = [r for r in records if r.state is State.ACTIVE]
        if not records:
            return None
    elif not _is_of_hook(context, uuid):
        return None
    if _busy(context, records):
        return None
    try:
        return context.ended.write(uuid, is_suspected=True)
    except errors.Unavailable as error:
        context.say(str(error))
        return None


def _is_of_hook(context: HostContext, uuid: str) -> bool:
    try:
        return context.ledger.allocation(uuid).request == HOOK_REQUEST
    except errors.Refused:
        return False


def _take_up(
    context: HostContext,
    libvirt: _Libvirt,
    guest: EndedGuest,
    attached: Collection[str],
) -> bool:
    """Return whether an ended guest's units are now to be released."""
    records = context.held(guest.uuid)
    active = [r for r in records if r.state is State.ACTIVE]
    busy = _busy(context, active)
    # The command that suspected it may have died before libvirt answered.
    if busy or guest.is_suspected:
        has_ended = libvirt.has_ended(guest.uuid)
        if not has_ended:
            # What the hook noted stays where libvirt does not answer.
            if has_ended is False or guest.is_suspected:
                context.ended.remove(guest)
            return False
        if busy:
            context.say(f"guest {guest.uuid} ended, but {busy}")
            return False
    if context.ended.read(guest.uuid) != guest:
        # It started since, or ended another time.
        return False
    unused = [
        r
        for r in records
        if r.state is State.CLAIMED and guest.uuid not in attached
    ]
    try:
        for record in active:
            context.ledger.move(record, State.RELEASING)
        if unused and _is_of_hook(context, guest.uuid):
            for record in unused:
                context.ledger.move(record, State.FREE)
                context.say(f"unit {record.unit.key} is free")
    except errors.Conflict:
        # It starts now; the next command looks again.
        return False
    return True


def _busy(context: HostContext, records: Sequence[UnitRecord]) -> str:
    """Return why a unit is or may be in use; "" if none is."""
    reasons = (why_busy(context, record.unit) for record in records)
    return next(filter(None, reasons), "")


class _Libvirt:
    """Which guests ended, by libvirt; not asked again once it is silent."""

    def __init__(self, context: HostContext) -> None:
        self._context = context
        self._is_silent = False

    def has_ended(self, uuid: str) -> bool | None:
        """Return whether libvirt has no such guest; None if it is unknown."""
        if self._is_silent:
            return None
        answer = instance_sources.ask_libvirt(
            self._context.connect,
            lambda hypervisor: hypervisor.has_ended(uuid),
            _ANSWER_S,
        )
        if not isinstance(answer, Unknown):
            return answer
        self._is_silent = answer.why is Why.MISSING
        self._context.say(
            f"whether guest {uuid} has ended is unknown ({answer.detail}): its"
            " units stay as they are; the next gpu-passthrough command on this"
            " host asks again"
        )
        return None

"""Publish this host's units; take one out of use, and put it back."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.flow import fence, sanitise, teardown
from gpu_passthrough_plugin.flow import quarantine as quarantine_journal
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    require_here,
    why_busy,
)
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.allocation import (
    DISABLED_BY_NOVA,
    HostRecord,
    SyncReport,
)
from gpu_passthrough_plugin.model.instance import Instance, NamedInstance
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

BY_OPERATOR = "by the operator"


def publish(context: HostContext, *, replaces: bool = False) -> SyncReport:
    """Make the ledger's inventory of this host what the host shows.

    :param replaces: whether to replace the inventory of another machine
        that published under this host's name.
    :raises Refused: when another machine did, and it is not to be replaced.
    """
    with locked_and_recovered(context):
        return context.ledger.publish(
            context.host,
            context.units(),
            aggregates=context.aggregates,
            machine=known(host_facts.machine_identity(context.tree)) or "",
            replaces=replaces,
        )


def cordon(ledger: LedgerDriver, host: str, reason: str | None) -> HostRecord:
    """Offer no unit of a host to new claims; return its record.

    :param reason: replaces the one of a host that is cordoned already; None
        keeps that, and is ``BY_OPERATOR`` for any other host.
    :raises Invalid: when the reason would be taken for an agent's.
    :raises Refused: when the ledger has no such host.
    """
    if reason is None:
        record = ledger.host(host)
        # What Nova disabled, what is malformed, and what an agent marked may
        # cease to be.
        is_kept = (
            record is not None
            and record.is_cordoned
            and not record.is_malformed
            and record.reason != DISABLED_BY_NOVA
            and not agent_state.is_lost_or_fenced(record.reason)
        )
        reason = record.reason if record and is_kept else ""
    _require_operators(reason)
    return ledger.cordon(host, reason or BY_OPERATOR)


def _require_operators(reason: str | None) -> None:
    """Raise if an agent would take a reason for its own, and lift it."""
    if reason and agent_state.is_lost_or_fenced(reason):
        raise errors.Invalid(
            f"--reason {reason!r} begins as those of the agents do, which"
            " take back what they find in order; begin it otherwise"
        )


def uncordon(ledger: LedgerDriver, host: str) -> HostRecord:
    """Offer a host's free units again; return its record.

    A host that is lost is watched no more until its agent runs again: it
    would be marked again at once.

    :raises Refused: when the ledger has no such host.
    """
    record = ledger.host(host)
    if record is not None and agent_state.is_lost_or_fenced(record.reason):
        ledger.watch(host, False)
    return ledger.uncordon(host)


def quarantine(
    context: HostContext, key: UnitKey, reason: str | None
) -> UnitRecord:
    """Take a free unit out of use; return its record.

    :param reason: replaces the one of a unit that is quarantined already;
        None keeps that, and is ``BY_OPERATOR`` for a free unit.
    :raises Invalid: when the reason would be taken for an agent's.
    :raises Refused: when a consumer has it.
    """
    _require_operators(reason)
    with locked_and_recovered(context):
        record = context.ledger.unit(key)
        if record.consumer:
            is_instances = record.state is not State.CLAIMED
            verb = "instance release" if is_instances else "allocation delete"
            raise errors.Refused(
                f"unit {key} is {record.state} for {record.consumer}; run"
                f" 'gpu-passthrough {verb} {record.consumer}' on {key.host}"
                " first"
            )
        becomes = BY_OPERATOR if reason is None else reason
        if agent_state.is_fenced(record):
            # It is the operator's from now on, and still to be reset.
            require_here(context, key.host, f"unit {key}")
            uuid = quarantine_journal.journal_uuid(record.unit)
            # A pass that was cut off may have noted its drivers.
            entry = context.journal.read(uuid) or Instance(uuid)
            quarantine_journal.put(context, entry, record, becomes)
            return context.ledger.unit(key)
        if record.state is State.QUARANTINED and reason in (
            None,
            record.reason,
        ):
            return record
        return context.ledger.move(record, State.QUARANTINED, reason=becomes)


def clear(context: HostContext, key: UnitKey) -> UnitRecord:
    """Check a quarantined unit again, and free it; return its record.

    One that had a guest in this boot of the host is reset first: it may be
    quarantined because that failed.  So is one that was given up when the
    host was fenced: the journal of this host does not know of that.

    :raises Refused: when the unit is not quarantined, is in use, is still not
        clean, or is no longer the group that was published: a function that
        was removed from its bus and rescanned may be in another group.
    """
    require_here(context, key.host, f"unit {key}")
    with locked_and_recovered(context):
        record = context.ledger.unit(key)
        if record.state is not State.QUARANTINED:
            raise errors.Refused(
                f"unit {key} is {record.state}, not quarantined"
            )
        if agent_state.is_fenced(record):
            _require_clean(key, fence.clean_unused(context, record))
            return context.ledger.move(
                record, State.FREE, reason=fence.CLEANED
            )
        unit = record.unit
        _require_clean(key, sanitise.check_clean(context, unit))
        quarantine_journal.require_rebooted(context, unit)
        require_current(context, (unit,))
        # Not "not clean", which says to power-cycle the host.
        if busy := why_busy(context, unit):
            raise errors.Refused(f"unit {key} stays quarantined: {busy}")
        if quarantine_journal.had_guest(context, unit):
            # A reset takes functions from the drivers that they are on now.
            entry = context.journal.read(quarantine_journal.journal_uuid(unit))
            if entry is not None:
                teardown.with_rebinds(context, entry, (record,))
            no_one = NamedInstance("", "")
            cleaning = sanitise.sanitise(context, unit, {}, no_one)
            _require_clean(key, cleaning.faults)
        teardown.restore(context, unit)
        return context.ledger.move(record, State.FREE)


def _require_clean(key: UnitKey, faults: Sequence[str]) -> None:
    if faults:
        raise errors.Refused(
            f"unit {key} is not clean: {'; '.join(faults)}; power-cycle the"
            " host, then run this again"
        )

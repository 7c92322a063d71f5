"""Give up what a host has that is powered off, and check it once it is back.

A host that does not answer may still run its guests.  Only who knows that it
is off can say that they have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.flow import unit_cleaning
from gpu_passthrough_plugin.flow.context import (
    HostContext,
    require_current,
    why_busy,
)
from gpu_passthrough_plugin.flow.recovery import locked_and_recovered
from gpu_passthrough_plugin.model import agent_state
from gpu_passthrough_plugin.model.agent_state import FENCED, LOST
from gpu_passthrough_plugin.model.allocation import (
    DISABLED_BY_NOVA,
    HostRecord,
)
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

CLEANED = "reset and checked after the fence"
_ATTEMPTS = 5


class GivenUp(NamedTuple):
    """A unit that a fenced host had, before and after."""

    before: UnitRecord
    after: UnitRecord


def require_fenceable(
    record: HostRecord | None,
    host: str,
    own_host: str,
    members: Collection[str] | None,
    *,
    is_powered_off: bool,
) -> None:
    """Raise unless it is certain enough that a host is powered off.

    :param record: of the host; None where the ledger does not have it.
    :param own_host: where this runs.
    :param members: the hosts whose agents answer; None where that is
        unknown.
    :param is_powered_off: whether the operator says so.
    :raises Refused: when it is not.
    """
    if host == own_host:
        raise errors.Refused(
            f"{host} is this host, which is not powered off; run this on"
            " another host, or 'gpu-passthrough agent reconcile' here"
        )
    if record is None:
        raise errors.Refused(
            f"the ledger has no host {host}; see 'gpu-passthrough inventory"
            " hosts'"
        )
    if members is not None and host in members:
        raise errors.Refused(
            f"the agent of {host} answers; power the host off, and run this"
            " again once 'gpu-passthrough inventory hosts' has it as lost"
        )
    if is_powered_off:
        return
    doubt = ""
    if members is None:
        doubt = "which agents answer is unknown"
    elif not agent_state.is_lost_or_fenced(record.reason):
        doubt = f"host {host} is not marked as lost"
    if doubt:
        raise errors.Refused(
            f"{doubt}; if you know that {host} is powered off, run this with"
            " --powered-off"
        )


def fence(
    ledger: LedgerDriver,
    host: str,
    by: str,
    say: Callable[[str], None],
    *,
    expected: str | None = None,
) -> tuple[GivenUp, ...]:
    """Give up everything that the guests of a powered-off host have.

    Each unit in one step; to repeat it goes on where it was interrupted.  A
    claim of which no guest was started is freed; what a guest may have had is
    quarantined, because nothing was reset.

    :param by: who says that the host is off.
    :param expected: why the host is cordoned; None for whatever it is.
    :raises Refused: when the ledger has no such host.
    :raises Conflict: when other clients changed it at each attempt, or it is
        not cordoned as expected.
    """
    _cordon(ledger, host, by, expected)
    done: dict[UnitKey, GivenUp] = {}
    for attempt in range(_ATTEMPTS):
        try:
            for record in ledger.listing(host=host).records:
                if record.state.is_held:
                    done[record.unit.key] = _give_up(ledger, record, by, say)
        except errors.Conflict:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            break
    for malformed in ledger.listing(host=host).malformed:
        if malformed.consumer is not None:
            say(f"{malformed}; {malformed.remedy}")
    return tuple(done.values())


def _cordon(
    ledger: LedgerDriver, host: str, by: str, expected: str | None
) -> None:
    """Cordon a host for the fence; leave the cordon of an operator."""
    record = ledger.host(host)
    reason = "" if record is None else record.reason
    if record is not None and expected not in (None, reason):
        now = f"cordoned ({reason})" if record.is_cordoned else "not cordoned"
        raise errors.Conflict(f"host {host} is {now} now")
    is_ours = reason.startswith(LOST) or reason == DISABLED_BY_NOVA
    if record is None or not record.is_cordoned or is_ours:
        ledger.cordon(host, f"{FENCED}by {by}", expected=reason)


def _give_up(
    ledger: LedgerDriver,
    record: UnitRecord,
    by: str,
    say: Callable[[str], None],
) -> GivenUp:
    state, reason = State.QUARANTINED, f"{FENCED}by {by}"
    if record.state is State.CLAIMED:
        state = State.FREE
    else:
        reason += f"; {record.state} for {record.consumer}, and not reset"
    after = ledger.move(record, state, reason=reason)
    say(f"unit {record.unit.key} of {record.consumer} is {after.state}")
    return GivenUp(record, after)


def clean(context: HostContext, keys: Iterable[UnitKey]) -> None:
    """Reset and check units of this host that were given up, and free them.

    One that is not clean stays quarantined, for that reason.

    :raises Refused: when something uses one, or it is another group now.
    """
    with locked_and_recovered(context):
        for key in keys:
            record = context.ledger.unit(key)
            if not agent_state.is_fenced(record):
                continue
            if faults := clean_unused(context, record):
                context.ledger.move(
                    record, State.QUARANTINED, reason="; ".join(faults)
                )
                context.say(f"unit {key} is not clean: {'; '.join(faults)}")
                continue
            context.ledger.move(record, State.FREE, reason=CLEANED)
            context.say(f"unit {key} is free")


def clean_unused(context: HostContext, record: UnitRecord) -> tuple[str, ...]:
    """Reset and check a unit of this host that was given up.

    The host may not have been off: its guest may run, or have ended since.

    :return: why it is not clean.
    :raises Refused: when something uses it, or it is another group now.
    """
    unit = record.unit
    busy = why_busy(context, unit)
    if busy:
        raise errors.Refused(f"unit {unit.key} may be in use: {busy}")
    require_current(context, (unit,))
    return unit_cleaning.clean(context, unit)


def forget(context: HostContext, uuid: str) -> None:
    """Drop an instance from this host's journal that was given up.

    A domain that libvirt has defined for it stays: the libvirt hook claims
    units for it when it starts, if they are free then.
    """
    with locked_and_recovered(context):
        if context.journal.has(uuid) and not context.held(uuid):
            context.journal.remove(uuid)
            context.say(f"instance {uuid} was given up with its host")

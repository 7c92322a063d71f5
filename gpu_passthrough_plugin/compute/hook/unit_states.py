"""What is done about each unit of a guest, by the unit's state in the ledger.

A unit is taken, waited for, or the reason of a refusal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.unit import State, UnitKey, UnitRecord

_ENDING = frozenset({State.RELEASING, State.SANITISING})


@dataclasses.dataclass(frozen=True, slots=True)
class Guest:
    """The PCI functions of the host that a libvirt domain takes.

    :param functions: addresses, each with whether libvirt binds it.
    :param is_in_journal: whether ``instance boot`` or ``instance release``
        acts on the guest: a boot takes every function of a unit in any
        mode, and a release is waited for.
    :param takes_groups: whether a command gave the domain every function of
        its units, so that it takes them in any mode.
    :param is_running: whether the guest runs already, so that a start
        cannot be refused; only the consumers of its units are checked.
    """

    uuid: str
    functions: Mapping[Address, bool]
    is_in_journal: bool = False
    takes_groups: bool = False
    is_running: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerView:
    """What the ledger knows of this host, and of the guest on any host.

    :param records: this host's units.
    :param cordon_reason: why this host is cordoned; None if it is not.
    :param allocation: the guest's units; None if it has none.
    :param ended: guests of this host that ended, and whose units are still
        to be released.
    """

    records: Sequence[UnitRecord]
    cordon_reason: str | None = None
    allocation: Allocation | None = None
    ended: frozenset[str] = frozenset()

    def is_ending(self, record: UnitRecord) -> bool:
        """Return whether a unit is released, or about to be."""
        return record.state in _ENDING or (
            record.state is State.ACTIVE and record.consumer in self.ended
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What is done for a guest.

    :param refusals: why it may not start, a sentence each; all other
        fields are empty then.
    :param waits_for: units that are being released, and may be free soon.
    :param is_release_due: whether the release of one of these has not begun:
        its guest ended while the ledger did not answer.
    :param takes: free units to claim and make active.
    :param moves: units claimed for the guest before, to make active.
    """

    refusals: tuple[str, ...] = ()
    waits_for: tuple[UnitKey, ...] = ()
    is_release_due: bool = False
    takes: tuple[UnitRecord, ...] = ()
    moves: tuple[UnitRecord, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Return whether nothing is written to the ledger."""
        return bool(
            self.refusals or self.waits_for or not (self.takes or self.moves)
        )


def is_ending(allocation: Allocation | None) -> bool:
    """Return whether units of a stopped guest are to be released.

    Units that an operator claimed, and that the guest never had, stay
    claimed.
    """
    if allocation is None:
        return False
    ending = set(_ENDING)
    if allocation.request == HOOK_REQUEST:
        ending.add(State.CLAIMED)
    return not ending.isdisjoint(allocation.states)


def unit_states(
    guest: Guest, ledger: LedgerView, touched: Mapping[UnitKey, UnitRecord]
) -> Decision:
    """Sort a guest's units by what has to be done about each.

    In the result, refusals override waits, and waits override the rest.
    """
    refusals: list[str] = []
    waits_for: list[UnitRecord] = []
    takes: list[UnitRecord] = []
    moves: list[UnitRecord] = []
    for record in touched.values():
        refusal = _refusal(guest, ledger, record)
        if refusal:
            refusals.append(refusal)
        elif ledger.is_ending(record):
            # The previous consumer does not matter: Nova gives a card to the
            # next guest as soon as the previous one is gone.
            waits_for.append(record)
        elif record.state in (State.FREE, State.CLAIMED):
            if guest.is_in_journal:
                # A boot moves its units on before it starts the guest, so
                # this is the guest's last release, which has not ended.
                waits_for.append(record)
            elif record.state is State.FREE:
                takes.append(record)
            else:
                moves.append(record)
    held = ledger.allocation.units if ledger.allocation else ()
    if guest.uuid in ledger.ended:
        # Also what it had and does not take this time.
        others = [r for r in held if r.unit.key not in touched]
        waits_for += filter(ledger.is_ending, others)
    if takes and ledger.allocation is not None:
        ending = [*filter(ledger.is_ending, held)]
        waits_for += ending
        if not ending:
            refusals.append(_growth(guest, ledger.allocation, takes))
    return Decision(
        refusals=tuple(refusals),
        waits_for=tuple(record.unit.key for record in waits_for),
        is_release_due=any(r.state is State.ACTIVE for r in waits_for),
        takes=tuple(takes),
        moves=tuple(moves),
    )


def _refusal(guest: Guest, ledger: LedgerView, record: UnitRecord) -> str:
    """Return why a unit's state keeps it from the guest; "" if it does not."""
    key, state = record.unit.key, record.state
    if state is State.QUARANTINED:
        return (
            f"unit {key} is quarantined ({record.reason}); check it, then run"
            f" 'gpu-passthrough unit clear {key}'"
        )
    if ledger.is_ending(record):
        return ""
    if state is State.FREE:
        if ledger.cordon_reason is None or guest.is_in_journal:
            return ""
        return (
            f"unit {key} is not offered: this host is cordoned"
            f" ({ledger.cordon_reason}); see 'gpu-passthrough inventory hosts'"
        )
    if record.consumer != guest.uuid:
        return (
            f"unit {key} is {state} for {record.consumer}; see"
            " 'gpu-passthrough allocation list'"
        )
    if state is State.PREPARING and not guest.is_in_journal:
        return (
            f"an interrupted boot left unit {key} half prepared; run"
            f" 'gpu-passthrough instance release {guest.uuid}'"
        )
    return ""


def _growth(
    guest: Guest, allocation: Allocation, takes: Iterable[UnitRecord]
) -> str:
    """Return the refusal of units beyond those that the guest has claimed."""
    units = ", ".join(str(r.unit.key) for r in allocation.units)
    more = ", ".join(str(r.unit.key) for r in takes)
    how = f"by its claim of {allocation.request}"
    if allocation.request == HOOK_REQUEST:
        how = "from an earlier start"
    return (
        f"the guest holds {units} {how} and takes {more} as well; run"
        f" 'gpu-passthrough instance release {guest.uuid}', or remove {more}"
        " from its XML"
    )

"""What the libvirt hook does at each step of a guest's life.

libvirt waits for the hook, and kills a running guest whose hook fails at a
reconnect: only a start is ever refused.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.compute.hook import decision, unit_states
from gpu_passthrough_plugin.compute.hook.decision import Rules
from gpu_passthrough_plugin.compute.hook.unit_states import (
    Decision,
    Guest,
    LedgerView,
)
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import driver_uses, host_snapshot
from gpu_passthrough_plugin.formats import domain_xml
from gpu_passthrough_plugin.formats.host_devices import host_functions
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.hook import complain, write_error
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import Allocation
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST, HookMode
from gpu_passthrough_plugin.model.instance import Phase
from gpu_passthrough_plugin.model.unit import State

PREPARE, RELEASE, RECONNECT = "prepare", "release", "reconnect"

_POLL_S = 0.1
# After this time the release that a start waits for may have died.
_RESTART_RELEASE_S = 10
_LEDGER_TRIES = 8
# How long libvirt waits at most, whatever does not answer.  The release is
# handed over to another process then.
RELEASE_LIMIT_S = 3
RECONNECT_LIMIT_S = 15
_MIN_LIMIT_S = 5
# What is left at least of a deadline, where the agent was asked before.
_MIN_LEFT_S = 0.5
# The reason for which a start waits is a better message than that it is over.
_GRACE_S = 1


@dataclasses.dataclass(frozen=True, slots=True)
class HookContext:
    """Everything one hook run needs.

    :param host: this host's name in the ledger.
    :param guest_name: libvirt's name of the guest, for the ledger's events.
    :param open_ledger: called late: what was noted is not to be lost with a
        ledger that cannot be opened.
    :param mode: whether a guest has to take whole units.
    :param wait_s: how long a start waits for units that are being released.
    :param ended: guests that ended, until their units are released.
    :param hand_over: starts a process that releases an instance's units.
    :param require_caller: raises when the process that called the hook has
        ended, so that nobody starts the guest.
    :param within: returns what work returns, and raises an error with a text
        when it takes longer than a number of seconds.
    :param age_s: for how long libvirt waited before, for the agent.
    :param count: counts an event of this host, with its details.
    """

    host: str
    tree: Tree
    policy: Policy
    open_ledger: Callable[[], LedgerDriver]
    journal: InstanceJournal
    ended: EndedGuests
    mode: HookMode
    wait_s: float
    hand_over: Callable[[str], None]
    require_caller: Callable[[], None] = lambda: None
    within: Callable[[float, Callable[[], bool], str], bool] = (
        lambda _limit_s, work, _late: work()
    )
    guest_name: str = ""
    age_s: float = 0.0
    count: Callable[..., None] = lambda _event, *_details: None

    @property
    def limit_s(self) -> float:
        """How long a start waits, whatever it waits for."""
        return max(self.wait_s, _MIN_LIMIT_S) + _GRACE_S

    def bounded(
        self, limit_s: float, work: Callable[[], bool], late: str
    ) -> bool:
        """Return what ``work`` returns; libvirt waits ``limit_s`` in all."""
        return self.within(max(limit_s - self.age_s, _MIN_LEFT_S), work, late)


def act(
    make_context: Callable[[], HookContext],
    name: str,
    operation: str,
    text: bytes,
    write: Callable[[bytes], None] = write_error,
) -> int:
    """Act on one call of the hook; return its exit status.

    Errors are printed.

    :param make_context: reads the configuration; called only for a guest
        that has, or may have, PCI functions.
    :param name: of the domain.
    :param operation: libvirt's name of the step.
    :param text: the domain's XML.
    :param write: writes a line to where libvirt reads it.
    """
    is_start = operation == PREPARE
    try:
        _act(make_context, operation, text)
    except (errors.Error, OSError) as error:
        line = f"domain {name}: {error}"
        complain((line,), is_final=is_start, write=write)
        return int(is_start)
    return 0


def _act(
    make_context: Callable[[], HookContext], operation: str, text: bytes
) -> None:
    root = domain_xml.tree(text, "its XML").getroot()
    taken = host_functions(root)
    if not (taken.functions or taken.unreadable):
        return
    uuid = domain_xml.guest_uuid(root, "its XML")
    if not uuid:
        raise errors.Invalid(
            "its XML has no <uuid>; expected a libvirt domain"
        )
    if operation == RELEASE:
        _release(make_context(), uuid)
        return
    if taken.unreadable:
        raise errors.Invalid(
            "its XML may take a PCI function that cannot be identified:"
            f" {taken.doubts}; write it as a <hostdev> with an address"
        )
    functions = {f.address: f.is_managed for f in taken.functions}
    context = make_context()
    begun = time.monotonic() - context.age_s
    if operation == PREPARE:
        context.bounded(
            context.limit_s,
            lambda: _prepare(context, uuid, functions, begun),
            _late(context.limit_s, " ([hook] wait_s)"),
        )
    else:
        context.bounded(
            RECONNECT_LIMIT_S,
            lambda: _reconnect(context, uuid, functions),
            _late(RECONNECT_LIMIT_S),
        )


def _late(limit_s: float, setting: str = "") -> str:
    return (
        "the ledger, or a file of this host, did not answer within"
        f" {limit_s:g} s{setting}; run 'gpu-passthrough host check' to see"
        " which"
    )


def _prepare(
    context: HookContext,
    uuid: str,
    functions: Mapping[Address, bool],
    begun: float,
) -> bool:
    """Make the guest's units active for it.

    :param begun: when the hook began, by the monotonic clock.
    :raises Refused: when the guest may not start.
    """
    is_release_restarted = False
    while True:
        context.require_caller()
        decided = _attempt(context, Guest(uuid, functions))
        if decided.refusals:
            raise errors.Refused("; ".join(decided.refusals))
        # A recovery notes that the guest has ended before it asks libvirt,
        # which does not answer while the guest starts: it may be at work.
        if not (decided.waits_for or context.ended.read(uuid)):
            return True
        age_s = time.monotonic() - begun
        if not decided.waits_for and age_s > context.limit_s - _GRACE_S:
            raise errors.Refused(
                "another gpu-passthrough command is finding out whether this"
                " guest has ended; start it again"
            )
        if decided.waits_for and age_s > context.wait_s:
            raise errors.Refused(
                f"{_listed(decided.waits_for)} was not released by its"
                f" previous guest within {context.wait_s:g} s ([hook] wait_s);"
                " see 'journalctl -t gpu-passthrough', then run"
                f" 'gpu-passthrough hook release {uuid}'"
            )
        is_late = age_s > _RESTART_RELEASE_S or decided.is_release_due
        if is_late and not is_release_restarted:
            is_release_restarted = True
            context.hand_over(uuid)
        time.sleep(_POLL_S)


def _reconnect(
    context: HookContext, uuid: str, functions: Mapping[Address, bool]
) -> bool:
    """Record a running guest's units as active, if they are free.

    :raises Refused: when another consumer has them.
    """
    entry = context.ended.read(uuid)
    if entry:
        context.ended.remove(entry)
    decided = _attempt(context, Guest(uuid, functions, is_running=True))
    why = "; ".join(decided.refusals)
    if decided.waits_for:
        why = f"{_listed(decided.waits_for)} is being released"
    if why:
        raise errors.Refused(f"the guest is running, but {why}")
    return True


def _release(context: HookContext, uuid: str) -> None:
    """Note that a guest ended, and start the release of its units.

    A guest of ``instance boot`` is released by ``instance release`` instead.
    """
    if context.journal.is_commanded(uuid):
        return
    try:
        entry = context.ended.write(uuid)
        is_needed = context.bounded(
            RELEASE_LIMIT_S,
            lambda: _begin_release(context, uuid),
            f"{_late(RELEASE_LIMIT_S)}; its units are released as soon as it"
            " does",
        )
    except Exception:
        # The other process tries for longer, and what it leaves undone is
        # done by the next command.
        context.hand_over(uuid)
        raise
    if is_needed:
        context.hand_over(uuid)
    else:
        context.ended.remove(entry)


def _begin_release(context: HookContext, uuid: str) -> bool:
    """Move an ended guest's active units to ``releasing``.

    Return whether it has units to release.
    """
    ledger = context.open_ledger()
    ledger.name_consumer(uuid, context.guest_name)
    for record in ledger.records(host=context.host):
        if record.consumer == uuid and record.state is State.ACTIVE:
            ledger.move(record, State.RELEASING)
    return unit_states.is_ending(_allocation(ledger, uuid))


def _attempt(context: HookContext, guest: Guest) -> Decision:
    """Decide by the host and the ledger, and carry the decision out.

    :raises Conflict: when the ledger changed meanwhile at each of several
        tries.
    """
    guest = dataclasses.replace(
        guest,
        is_in_journal=context.journal.is_commanded(guest.uuid),
        takes_groups=context.journal.has(guest.uuid),
    )
    if guest.is_in_journal and not guest.is_running:
        _require_booted(context, guest.uuid)
    parts = host_snapshot.read_groups(
        context.tree, context.policy, guest.functions
    )
    unspared = (
        {} if guest.is_running else host_snapshot.unspared(context.tree, parts)
    )
    groups = {p.number: p.members for p in parts if p.number is not None}
    for _ in range(_LEDGER_TRIES - 1):
        try:
            return _attempt_once(context, guest, groups, unspared)
        except errors.Conflict:
            # Rare, and libvirt waits for what is imported.
            from gpu_passthrough_plugin.model.metric import CountedEvent

            context.count(CountedEvent.CLAIM_CONFLICT, "hook")
    return _attempt_once(context, guest, groups, unspared)


def _require_booted(context: HookContext, uuid: str) -> None:
    """Raise if an instance of the journal was not about to be started.

    What undoes its boot would take its functions for clean, and stop it.

    :raises Refused: when a boot that began has not come to the start.
    """
    instance = context.journal.read(uuid)
    if (
        instance is not None
        and instance.phase is Phase.BOOTING
        and not instance.was_started
    ):
        raise errors.Refused(
            "'gpu-passthrough instance boot' is at this guest, or was"
            " interrupted; run 'gpu-passthrough instance release"
            f" {uuid}', then start it again"
        )


def _attempt_once(
    context: HookContext,
    guest: Guest,
    groups: Mapping[int, Sequence[Member]],
    unspared: Mapping[Address, str],
) -> Decision:
    ledger = context.open_ledger()
    ledger.name_consumer(guest.uuid, context.guest_name)
    entry = None if guest.is_running else context.ended.read(guest.uuid)
    decided = decision.decide(
        guest,
        groups,
        _view(context, ledger, guest),
        Rules(
            context.mode,
            context.policy.is_excluded,
            lambda driver: modules.libvirt_keeps(context.tree, driver),
        ),
        unspared,
    )
    if decided.refusals or decided.waits_for:
        return decided
    if entry:
        # It has nothing left to release.  A recovery that read the entry
        # earlier compares it, and the units' generations, afterwards.
        context.ended.remove(entry)
    if not guest.is_running:
        managed = {
            a for a, is_managed in guest.functions.items() if is_managed
        }
        members = [m for group in groups.values() for m in group]
        driver_uses.require_takeable(context.tree, members, managed)
    records = [*decided.moves]
    # The last moment: nobody would release what is claimed from here on.
    context.require_caller()
    if decided.takes:
        if not guest.is_running:
            functions = [f for r in decided.takes for f in r.unit.functions]
            context.journal.require_free(
                [function.address for function in functions], guest.uuid
            )
        keys = [record.unit.key for record in decided.takes]
        records += ledger.claim_units(keys, guest.uuid, HOOK_REQUEST).units
    for record in records:
        context.require_caller()
        ledger.move(record, State.ACTIVE)
    return decided


def _view(
    context: HookContext, ledger: LedgerDriver, guest: Guest
) -> LedgerView:
    host = ledger.host(context.host)
    ended = {entry.uuid for entry in context.ended.entries()[0]}
    if guest.is_in_journal:
        ended.discard(guest.uuid)
    return LedgerView(
        ledger.records(host=context.host),
        host.reason if host is not None and host.is_cordoned else None,
        _allocation(ledger, guest.uuid),
        frozenset(ended),
    )


def _allocation(ledger: LedgerDriver, uuid: str) -> Allocation | None:
    try:
        return ledger.allocation(uuid)
    except errors.Refused:
        return None


def _listed(keys: Iterable[object]) -> str:
    return ", ".join(map(str, keys))

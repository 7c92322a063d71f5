"""Which instances of a host have a guest that is gone, and why others stay.

An instance is gone when libvirt has answered, its guest neither runs nor is
saved to the disk, it cannot start again with the units unnoticed, and nothing
uses their IOMMU groups.  What is unknown is never gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpu_passthrough_plugin.compute.instances import (
    ObservedInstances,
    instance_records,
)
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.guest import LibvirtDomain
from gpu_passthrough_plugin.model.instance import (
    INTERRUPTED,
    InstanceRecord,
    Phase,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State, Unit

_SETTLED = frozenset({State.CLAIMED, State.ACTIVE})


class JudgedInstance(NamedTuple):
    """An instance of this host, and why it is gone, or stays.

    :param reason: one sentence without a full stop.
    :param keeps_claim: of one that is gone: whether libvirt has it defined
        with its units, so that only its last run is to be ended.
    """

    record: InstanceRecord
    reason: str
    keeps_claim: bool = False

    @property
    def is_left_to_recovery(self) -> bool:
        """Whether its guest may start again, and take units, at any time.

        What every command begins with notes that it ended, so that a start
        waits, before it asks libvirt.
        """
        record = self.record
        return self.keeps_claim or (
            record.is_of_hook and not record.is_attached
        )


class GoneInstances(NamedTuple):
    """The instances of this host, each in one of two lists.

    :param gone: those whose guest is gone, with the evidence.
    :param kept: the others, with the reason.
    """

    gone: tuple[JudgedInstance, ...]
    kept: tuple[JudgedInstance, ...]


def decide(
    observed: ObservedInstances, why_busy: Callable[[Unit], str]
) -> GoneInstances:
    """Sort this host's instances by whether their guests are gone.

    :param observed: journal, ledger and libvirt's domains; of a persistent
        domain that holds units, with ``defined_functions``.
    :param why_busy: returns why something uses a unit, or may use it; "" for
        an idle one.  Asked only of guests that libvirt says
        have ended.
    """
    gone, kept = [], []
    for record in instance_records(observed):
        if record.host != observed.host:
            continue
        reason = _why_kept(observed, record)
        returns = _why_may_return(record, observed.domain(record.uuid))
        # What its last run left is to be cleaned.
        keeps_claim = record.is_attached and State.ACTIVE in record.states
        if not keeps_claim:
            reason = reason or returns
        reason = reason or _why_in_use(record, why_busy)
        if reason:
            kept.append(JudgedInstance(record, reason))
        else:
            evidence = _evidence(observed, record)
            if returns:
                evidence += "; its claim stays, for its next start"
            gone.append(JudgedInstance(record, evidence, bool(returns)))
    return GoneInstances(tuple(gone), tuple(kept))


def _why_kept(observed: ObservedInstances, record: InstanceRecord) -> str:
    """Return why an instance is not gone, by its records and by libvirt."""
    for unread in (observed.domains, observed.journal):
        if isinstance(unread, Unknown):
            return f"whether its guest is gone is unknown: {unread.detail}"
    domain = observed.domain(record.uuid)
    if domain is not None and domain.is_active:
        return f"its guest is {domain.state}"
    if domain is not None and not domain.has_ended:
        return "libvirt saved its guest's memory for the next start"
    return _why_unsettled(record)


def _why_unsettled(record: InstanceRecord) -> str:
    """Return why an instance is in the middle of an act, or damaged."""
    uuid = record.uuid
    if record.malformed:
        return f"{record.malformed[0]}; {record.malformed[0].remedy}"
    phase = record.instance.phase if record.instance else Phase.ACTIVE
    unfinished = [s for s in record.states if s not in _SETTLED]
    if phase in INTERRUPTED or unfinished:
        what = phase if phase in INTERRUPTED else unfinished[0]
        return (
            f"it is {what}: another command acts on it, or was interrupted;"
            " the next command that changes something on this host completes"
            " that"
        )
    if record.allocation is None and not record.is_attached:
        return (
            "this host's journal has it and the ledger does not; see what"
            f" 'gpu-passthrough instance release {uuid}' says"
        )
    if record.instance is None and set(record.states) == {State.CLAIMED}:
        return (
            "no guest was started with its units, which are only claimed; to"
            f" free them run 'gpu-passthrough allocation delete {uuid}'"
        )
    return ""


def _why_may_return(
    record: InstanceRecord, domain: LibvirtDomain | None
) -> str:
    """Return why a guest that is shut off may take its units again.

    libvirt may start a defined domain at any time, and nothing notices it on
    a host without the hook.  What the hook claimed it claims again at each
    start, so that such a guest is released like a transient one.
    """
    if domain is None or (record.is_of_hook and not record.is_attached):
        return ""
    defined = domain.defined_functions
    if isinstance(defined, Unknown):
        return (
            f"whether the definition of domain {domain.name!r} has its units"
            f" is unknown: {defined.detail}"
        )
    shared = sorted(defined & _functions(record))
    if not shared:
        return ""
    if record.is_attached:
        return (
            f"domain {domain.name!r} is {domain.state} and defined with"
            f" {', '.join(map(str, shared))}: its claim lasts as long as that;"
            f" to end it run 'gpu-passthrough instance detach {record.uuid}'"
        )
    return (
        f"domain {domain.name!r} is shut off and defined with"
        f" {', '.join(map(str, shared))}, so it may start with them again;"
        " remove them from its definition, or name the instance to release it"
    )


def _why_in_use(
    record: InstanceRecord, why_busy: Callable[[Unit], str]
) -> str:
    units = record.allocation.units if record.allocation else ()
    for unit_record in units:
        # libvirt starts a defined domain also where no hook notices it.
        if unit_record.state is not State.CLAIMED or record.is_attached:
            reason = why_busy(unit_record.unit)
            if reason:
                return f"unit {unit_record.unit.key} may be in use: {reason}"
    return ""


def _evidence(observed: ObservedInstances, record: InstanceRecord) -> str:
    domain = observed.domain(record.uuid)
    if domain is None:
        guest = "libvirt has no domain of this UUID"
    else:
        guest = f"domain {domain.name!r} is {domain.state}"
    return f"{guest}, and nothing uses the groups of its units"


def _functions(record: InstanceRecord) -> frozenset[Address]:
    units = record.allocation.units if record.allocation else ()
    functions = frozenset(f.address for r in units for f in r.unit.functions)
    if record.instance is not None:
        functions |= record.instance.defined_functions
    return functions

"""What is out of step on a host, and what is done about it: pure.

Each finding is explained by one observation alone.  A guest that runs is
never touched: where only that would help, the finding waits for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpu_passthrough_plugin.agent import running_guests
from gpu_passthrough_plugin.agent.finding import Act, Case, Finding
from gpu_passthrough_plugin.agent.host_watch import (
    fenced,
    given_up,
    returned,
)
from gpu_passthrough_plugin.agent.observation import Observation
from gpu_passthrough_plugin.agent.suspect_units import suspects
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.instance import INTERRUPTED, Phase
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitRecord,
)

_SETTLED = (Phase.ACTIVE, Phase.ATTACHED)
_UNFINISHED = (State.PREPARING, State.RELEASING, State.SANITISING)


def reconcile(observed: Observation) -> tuple[Finding, ...]:
    """Return what is out of step, in the order in which it is acted on.

    Guests that run are recorded before anything is released or published,
    so that no unit of theirs is offered meanwhile.
    """
    recorded = [*running_guests.findings(observed)]
    named = {f.consumer for f in recorded if f.act is Act.RECORD}
    named |= given_up(observed)
    given = [*fenced(observed)]
    checked = {finding.subject for finding in given}
    findings = [
        *recorded,
        *given,
        *(f for f in _lost(observed) if f.consumer not in named),
        *_interrupted(observed),
        *_ended(observed),
        *_gone(observed),
        *_claims(observed),
        *_inventory(observed),
        *(f for f in _records(observed) if f.subject not in checked),
        *suspects(observed),
        *_host(observed),
    ]
    return (*findings, *returned(observed, findings))


def _interrupted(observed: Observation) -> Iterator[Finding]:
    """Yield what a command began and has not ended.

    To recover waits for a command that still runs.
    """
    named = set()
    for instance in observed.instances:
        if instance.phase in INTERRUPTED:
            named.add(instance.uuid)
            yield Finding(
                Case.INTERRUPTED,
                instance.uuid,
                f"it is {instance.phase}: a command is at it, or was"
                " interrupted",
                Act.RECOVER,
            )
    for record in observed.listing.records:
        if record.state in _UNFINISHED and record.consumer not in named:
            yield Finding(
                Case.INTERRUPTED,
                str(record.unit.key),
                f"it is {record.state} for {record.consumer}: a command is at"
                " it, or was interrupted",
                Act.RECOVER,
            )


def _ended(observed: Observation) -> Iterator[Finding]:
    """Yield guests that the hook saw end while the ledger was away."""
    for uuid in sorted(observed.ended):
        yield Finding(
            Case.GUEST_ENDED,
            uuid,
            "libvirt reported that the guest ended, and its units were not"
            " released",
            Act.RECOVER,
        )


def _gone(observed: Observation) -> Iterator[Finding]:
    for gone in observed.gone:
        yield Finding(
            Case.GUEST_GONE,
            gone.uuid,
            gone.evidence,
            Act.RELEASE,
            consumer=gone.uuid,
        )


def _lost(observed: Observation) -> Iterator[Finding]:
    """Yield instances of the journal whose units the ledger offers.

    As after the ledger was restored from an older copy: what they had was
    not reset since.
    """
    held = {record.consumer for record in observed.listing.records}
    for instance in observed.instances:
        if instance.phase not in _SETTLED or instance.uuid in held:
            continue
        free = tuple(
            record.unit.key
            for record in observed.listing.records
            if record.state is State.FREE
            and not instance.functions.isdisjoint(_addresses(record.unit))
        )
        if free:
            yield Finding(
                Case.LEDGER_BEHIND,
                instance.uuid,
                f"this host's journal has {_listed(free)} for it, and the"
                " ledger offers that to others",
                Act.RECORD,
                consumer=instance.uuid,
                request=instance.request or HOOK_REQUEST,
                units=free,
            )


def _claims(observed: Observation) -> Iterator[Finding]:
    """Yield claims of which no guest runs: they stay.

    Without those of defined domains, which are to last.
    """
    if isinstance(observed.guests, Unknown):
        return
    expected = {guest.uuid for guest in observed.guests}
    expected |= {
        instance.uuid
        for instance in observed.instances
        if instance.phase is Phase.ATTACHED
    }
    for record in observed.listing.records:
        if record.state is State.CLAIMED and record.consumer not in expected:
            yield Finding(
                Case.CLAIM_WITHOUT_GUEST,
                str(record.unit.key),
                f"it is claimed for {record.consumer}, which does not run on"
                " this host; the claim stays",
            )


def _inventory(observed: Observation) -> Iterator[Finding]:
    """Yield what the host shows and the ledger does not, and vice versa."""
    shown = observed.shown
    if shown is None:
        yield Finding(
            Case.KERNEL,
            observed.host,
            f"the groups of this host cannot be read ({observed.units}):"
            " nothing is published",
            remedy="run 'gpu-passthrough host check'",
        )
        return
    records = {r.unit.key: r for r in observed.listing.records}
    kept = {
        address: key
        for key, record in records.items()
        if record.state is not State.FREE
        for address in _addresses(record.unit)
    }
    for key, unit in shown.items():
        if any(kept.get(a, key) != key for a in _addresses(unit)):
            # The ledger takes it once the unit that has the function is free.
            continue
        change = _change(records.get(key), unit)
        if change:
            yield Finding(Case.INVENTORY, str(key), change, Act.PUBLISH)
    for key, record in records.items():
        if key not in shown and record.state is State.FREE:
            yield Finding(
                Case.INVENTORY,
                str(key),
                "this host no longer shows it as an assignable group",
                Act.PUBLISH,
            )


def _change(record: UnitRecord | None, unit: Unit) -> str:
    """Return how a unit differs from the ledger's; "" if it does not.

    Of a held unit, what publishing changes all the same.
    """
    if record is None:
        return "this host shows it, and the ledger does not have it"
    old = record.unit
    if old == unit and not record.is_missing:
        return ""
    if old.functions != unit.functions:
        if record.state.is_held:
            # It stays as it was handed out: ``UNIT_MISSING`` tells.
            return ""
        return (
            f"its functions were {_listed(f.address for f in old.functions)}"
            f" and are {_listed(f.address for f in unit.functions)}"
            if _addresses(old) != _addresses(unit)
            else "a function of it is another device now"
        )
    if old.iommu_group != unit.iommu_group:
        return (
            f"its IOMMU group was {old.iommu_group} and is {unit.iommu_group}"
        )
    return "its NUMA node, switch or traits changed, or it is here again"


def _addresses(unit: Unit) -> tuple[Address, ...]:
    return tuple(function.address for function in unit.functions)


def _records(observed: Observation) -> Iterator[Finding]:
    """Yield what waits for a person in the ledger's own records."""
    shown = observed.shown
    for record in observed.listing.records:
        key = record.unit.key
        is_gone = shown is not None and (
            key not in shown or shown[key].functions != record.unit.functions
        )
        if record.state.is_held and is_gone:
            yield Finding(
                Case.UNIT_MISSING,
                str(key),
                f"it is {record.state} for {record.consumer}, and this host"
                " does not show it as it was handed out",
                # The ledger's row is told that it is missing.
                Act.NONE if record.is_missing else Act.PUBLISH,
                remedy="see 'gpu-passthrough group list'; it is replaced once"
                f" 'gpu-passthrough instance release {record.consumer}' was"
                " run",
            )
        elif record.state is State.QUARANTINED and not record.is_suspect:
            yield Finding(
                Case.QUARANTINED,
                str(key),
                record.reason,
                remedy="check the device, then run 'gpu-passthrough unit clear"
                f" {key}'",
            )
    for malformed in observed.listing.malformed:
        yield Finding(
            Case.MALFORMED,
            f"{malformed.host}/{malformed.address}",
            malformed.problem,
            Act.PUBLISH if malformed.consumer is None else Act.NONE,
            remedy="" if malformed.consumer is None else malformed.remedy,
        )


def _host(observed: Observation) -> Iterator[Finding]:
    for detail, remedy in observed.faults:
        yield Finding(Case.HOST, observed.host, detail, remedy=remedy)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))

"""Which instances there are, by the ledger, this host's journal and libvirt.

Each of the three knows another part: the ledger who holds which unit, on any
host; the journal what ``instance boot`` did on this host; libvirt whether a
guest runs on this host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from gpu_passthrough_plugin.model.allocation import Allocation, MalformedUnit
from gpu_passthrough_plugin.model.guest import GuestState, LibvirtDomain
from gpu_passthrough_plugin.model.instance import (
    Instance,
    InstanceRecord,
    Phase,
)
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State


@dataclasses.dataclass(frozen=True, slots=True)
class ObservedInstances:
    """What the ledger, this host's journal and libvirt have, read once.

    :param host: this host's name in the ledger.
    :param allocations: what every consumer of every host holds.
    :param malformed: units of any host whose records cannot be read.
    :param journal: every entry of this host's instance journal.
    :param domains: every domain that libvirt on this host has.
    :param written_s: when journal entries were last written, in seconds since
        1970, by UUID.
    :param active_s: when units became active, by the ledger's events.
    """

    host: str
    allocations: Sequence[Allocation]
    malformed: Sequence[MalformedUnit]
    journal: Sequence[Instance] | Unknown
    domains: Sequence[LibvirtDomain] | Unknown
    written_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    active_s: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def domain(self, uuid: str) -> LibvirtDomain | None:
        """Return a domain of this host; None if libvirt has no such one."""
        domains = () if isinstance(self.domains, Unknown) else self.domains
        return next((d for d in domains if d.uuid == uuid), None)

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The journal's instances; its quarantined units are none."""
        journal = () if isinstance(self.journal, Unknown) else self.journal
        return tuple(i for i in journal if i.phase is not Phase.QUARANTINED)

    def instance(self, uuid: str) -> Instance | None:
        """Return an instance as the journal has it; None if it does not."""
        return next((i for i in self.instances if i.uuid == uuid), None)

    def name(self, uuid: str) -> str:
        """Return a guest's name on this host; empty if there is none."""
        domain, instance = self.domain(uuid), self.instance(uuid)
        if domain is not None:
            return domain.name
        return instance.name if instance else ""


def instance_records(
    observed: ObservedInstances,
) -> tuple[InstanceRecord, ...]:
    """Return every instance, by host, name and UUID."""
    allocations = {(a.consumer, a.host): a for a in observed.allocations}
    malformed: dict[tuple[str, str], list[MalformedUnit]] = {}
    for unit in observed.malformed:
        if unit.consumer:
            key = (unit.consumer, unit.host)
            malformed.setdefault(key, []).append(unit)
    here = {(i.uuid, observed.host) for i in observed.instances}
    records = [
        _record(
            observed,
            key,
            allocations.get(key),
            tuple(malformed.get(key, ())),
        )
        for key in {*allocations, *malformed, *here}
    ]
    return tuple(sorted(records, key=lambda r: (r.host, r.name, r.uuid)))


def _record(
    observed: ObservedInstances,
    key: tuple[str, str],
    allocation: Allocation | None,
    malformed: tuple[MalformedUnit, ...],
) -> InstanceRecord:
    uuid, host = key
    is_here = host == observed.host
    instance = observed.instance(uuid) if is_here else None
    record = InstanceRecord(
        uuid=uuid,
        name=observed.name(uuid) if is_here else "",
        host=host,
        allocation=allocation,
        malformed=malformed,
        instance=instance,
        guest=GuestState.UNKNOWN,
    )
    times: Mapping[str, float] = {}
    if State.ACTIVE in record.states:
        times = observed.active_s
    if instance and instance.phase is Phase.ACTIVE:
        times = {**times, **observed.written_s}
    record = dataclasses.replace(record, since_s=times.get(uuid))
    if not is_here or isinstance(observed.domains, Unknown):
        return record
    domain = observed.domain(uuid)
    return dataclasses.replace(
        record,
        guest=_guest_state(observed, record),
        definition=domain.definition if domain else "",
    )


def _guest_state(
    observed: ObservedInstances, record: InstanceRecord
) -> GuestState:
    domain = observed.domain(record.uuid)
    if domain is not None:
        return domain.state
    if isinstance(observed.journal, Unknown):
        # The journal would tell whether the guest was ever started.
        return GuestState.UNKNOWN
    return GuestState.GONE if was_started(record) else GuestState.NOT_STARTED


def was_started(record: InstanceRecord) -> bool:
    """Return whether an instance's guest was, or may have been, started."""
    if record.instance is not None:
        return record.instance.was_started
    return bool(record.malformed) or set(record.states) != {State.CLAIMED}

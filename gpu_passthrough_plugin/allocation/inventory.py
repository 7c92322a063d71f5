"""What publishing a host's units changes in the ledger; pure.

* A unit that the ledger does not have is added, free.
* A free or quarantined unit becomes what the host publishes.  If an
  endpoint's vendor or product changed at the same address, a free unit is
  quarantined: the new device was not verified clean.
* A held unit keeps the endpoints that were handed out.  Published with
  other endpoints, or not at all, it is marked missing; the published unit
  takes its place once it is free.  Its group number, NUMA node, switch and
  traits are updated.
* A free unit that is not published is removed; a quarantined one is marked
  missing.
* A published unit with a function of another unit that stays is withheld:
  two units never share a function.
* A unit whose record is malformed stays while a consumer has it.  Otherwise
  it is removed, and the published unit that may be it is quarantined.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import device_ids
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.allocation import (
    MalformedUnit,
    SyncReport,
)
from gpu_passthrough_plugin.model.event import Transition
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

_Published = Mapping[UnitKey, Unit]


@dataclasses.dataclass(frozen=True, slots=True)
class Publication:
    """What a host publishes of itself.

    :param machine: an identifier that tells this machine from others that
        use its name; empty when not known.
    :param replaces: whether it takes another machine's place.
    """

    host: str
    units: tuple[Unit, ...]
    aggregates: frozenset[str]
    machine: str
    replaces: bool


@dataclasses.dataclass(frozen=True, slots=True)
class RecordChange:
    """One unit that the ledger has, before and after."""

    before: UnitRecord
    after: UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class InventoryPlan:
    """Everything that publishing changes; by address."""

    added: tuple[Unit, ...]
    changed: tuple[RecordChange, ...]
    removed: tuple[UnitRecord, ...]
    withheld: tuple[Unit, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the ledger already has what the host publishes."""
        return not (self.added or self.changed or self.removed)

    @property
    def missing(self) -> tuple[Unit, ...]:
        """The units that this marks missing."""
        return tuple(
            change.after.unit
            for change in self.changed
            if change.after.is_missing and not change.before.is_missing
        )

    def report(
        self, generation: int, transitions: tuple[Transition, ...] = ()
    ) -> SyncReport:
        """Return the report of a publication that changed all this.

        :param generation: of the host's inventory afterwards.
        :param transitions: of its units, from ``events.published``.
        """
        return SyncReport(
            added=self.added,
            changed=tuple(change.after.unit for change in self.changed),
            removed=tuple(record.unit for record in self.removed),
            missing=self.missing,
            generation=generation,
            withheld=self.withheld,
            transitions=transitions,
        )


def require_consistent(host: str, units: Sequence[Unit]) -> None:
    """Raise if these cannot be the units of one host.

    :raises Faults: with every unit that is another host's, has no
        primary, or shares a function with another.
    """
    faults = [
        f"unit {unit.key} does not belong to host {host}"
        for unit in units
        if unit.key.host != host
    ]
    faults += [
        f"unit {unit.key} has no primary function; expected at least one"
        for unit in units
        if not unit.primaries
    ]
    owners = collections.Counter(f.address for u in units for f in u.functions)
    faults += [
        f"function {host}/{address} is in {count} units; expected one"
        for address, count in sorted(owners.items())
        if count > 1
    ]
    if faults:
        raise errors.Faults(tuple(faults))


def plan(
    records: Sequence[UnitRecord],
    units: Sequence[Unit],
    *,
    kept: Collection[str] = (),
) -> InventoryPlan:
    """Return what makes ``units`` the inventory of a host.

    :param records: what the ledger has of it.
    :param kept: the addresses of units and functions that the ledger has in
        malformed records that stay: published units with one are withheld.
    """
    published = {unit.key: unit for unit in units}
    withheld = _withheld(records, published, kept)
    accepted = {k: u for k, u in published.items() if k not in withheld}
    stored = {record.unit.key for record in records}
    changes = []
    removed = []
    for record in records:
        after = _after(record, accepted.get(record.unit.key))
        if after is None:
            removed.append(record)
        elif after != record:
            after = dataclasses.replace(
                after, generation=record.generation + 1
            )
            changes.append(RecordChange(record, after))
    return InventoryPlan(
        added=_by_address(u for k, u in accepted.items() if k not in stored),
        changed=tuple(changes),
        removed=tuple(removed),
        withheld=_by_address(published[key] for key in withheld),
    )


def new_record(
    unit: Unit,
    generation: int,
    replaced: Sequence[tuple[MalformedUnit, Collection[str]]],
) -> UnitRecord:
    """Return the record of a unit that the ledger did not have.

    It is quarantined if it may be one whose record was malformed: whether
    that was clean is not known.

    :param replaced: malformed units of the host that the ledger drops, each
        with its addresses, as far as these can be read.
    """
    state, reason = State.FREE, ""
    for malformed, addresses in replaced:
        is_readable = any(map(_is_address, addresses))
        if not is_readable or not _addresses(unit).isdisjoint(addresses):
            state = State.QUARANTINED
            reason = (
                f"its record in the ledger was malformed"
                f" ({malformed.problem}); check the device, then clear the"
                " unit"
            )
    return UnitRecord(unit, state, None, generation, False, reason)


def _addresses(unit: Unit) -> set[str]:
    return {str(unit.key.address), *(str(f.address) for f in unit.functions)}


def _is_address(text: str) -> bool:
    try:
        address.parse(text)
    except errors.Invalid:
        return False
    return True


def _withheld(
    records: Sequence[UnitRecord],
    published: _Published,
    kept: Collection[str],
) -> set[UnitKey]:
    """Return the published units that share a function with one that stays.

    Held units stay as they are, and quarantined ones that are not
    published.  A quarantined one that is withheld stays as it was too, and
    may have others withheld: repeat until nothing changes.
    """
    withheld = {
        key
        for key, unit in published.items()
        if not _addresses(unit).isdisjoint(kept)
    }
    while True:
        owners: dict[Address, UnitKey] = {
            function.address: record.unit.key
            for record in records
            if _stays(record, published, withheld)
            for function in record.unit.functions
        }
        sharing = {
            key
            for key, unit in published.items()
            if any(owners.get(f.address, key) != key for f in unit.functions)
        }
        if sharing <= withheld:
            return withheld
        withheld |= sharing


def _stays(
    record: UnitRecord, published: _Published, withheld: set[UnitKey]
) -> bool:
    if record.state is State.FREE:
        return False
    key = record.unit.key
    is_held = record.state is not State.QUARANTINED
    return is_held or key not in published or key in withheld


def _after(record: UnitRecord, unit: Unit | None) -> UnitRecord | None:
    """Return what a record becomes; None when it is removed.

    :param unit: what the host publishes under the same key, if anything.
    """
    if unit is None:
        if record.state is State.FREE:
            return None
        return dataclasses.replace(record, is_missing=True)
    if record.state.is_held:
        if _endpoints(unit) != _endpoints(record.unit):
            return dataclasses.replace(record, is_missing=True)
        return dataclasses.replace(record, unit=unit, is_missing=False)
    after = dataclasses.replace(record, unit=unit, is_missing=False)
    reason = _identity_change(record.unit, unit)
    if reason and record.state is State.FREE:
        return dataclasses.replace(
            after, state=State.QUARANTINED, reason=reason
        )
    return after


def _endpoints(unit: Unit) -> dict[Address, tuple[int, int]]:
    return {f.address: (f.vendor_id, f.product_id) for f in unit.functions}


def _identity_change(before: Unit, after: Unit) -> str:
    """Return which endpoint is another device now; empty when none is."""
    old, new = _endpoints(before), _endpoints(after)
    for endpoint in sorted(old.keys() & new.keys()):
        if old[endpoint] != new[endpoint]:
            before_ids = device_ids.pair(*old[endpoint])
            after_ids = device_ids.pair(*new[endpoint])
            return (
                f"{endpoint} changed from {before_ids} to {after_ids}; clear"
                " the unit if that is intended"
            )
    return ""


def _by_address(units: Iterable[Unit]) -> tuple[Unit, ...]:
    return tuple(sorted(units, key=lambda unit: unit.key.address))

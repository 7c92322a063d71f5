"""What publishing a host's units does to the ledger: pure.

* A unit that the ledger has not is added, free.
* A free or quarantined unit becomes what the host shows.  When an
  endpoint's vendor or product changed at the same address, a free one is
  quarantined: nobody has said yet that what sits there now is clean.
* A held unit keeps the endpoints that were handed out.  Shown with others,
  or not at all, it is marked missing; what the host shows takes its place
  once it is free.  Its group number, NUMA node, switch and traits are
  followed.
* A free unit that is not shown goes; a quarantined one is marked missing.
* A unit with a function of another that stays is withheld: two units never
  share one.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.unit import (
    State,
    Unit,
    UnitKey,
    UnitRecord,
)

_Shown = Mapping[UnitKey, Unit]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One unit that the ledger has, before and after."""

    before: UnitRecord
    after: UnitRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Everything that publishing changes; by address."""

    added: tuple[Unit, ...]
    changed: tuple[Change, ...]
    removed: tuple[UnitRecord, ...]
    withheld: tuple[Unit, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the ledger says already what the host shows."""
        return not (self.added or self.changed or self.removed)

    @property
    def missing(self) -> tuple[Unit, ...]:
        """The units that it marks missing."""
        return tuple(
            change.after.unit
            for change in self.changed
            if change.after.is_missing and not change.before.is_missing
        )


def check(host: str, units: Sequence[Unit]) -> None:
    """Return when these can be the units of one host.

    :raises Faults: with every unit that is another host's, has no
        primary, or shares a function with another.
    """
    faults = [
        f"unit {unit.key} is not of host {host}"
        for unit in units
        if unit.key.host != host
    ]
    faults += [
        f"unit {unit.key} has no primary; wanted at least one"
        for unit in units
        if not unit.primaries
    ]
    owners = collections.Counter(f.address for u in units for f in u.functions)
    faults += [
        f"function {address} of host {host} is in {count} units; wanted one"
        for address, count in sorted(owners.items())
        if count > 1
    ]
    if faults:
        raise errors.Faults(tuple(faults))


def plan(records: Sequence[UnitRecord], units: Sequence[Unit]) -> Plan:
    """What makes ``units`` the inventory of a host that has ``records``."""
    shown = {unit.key: unit for unit in units}
    withheld = _withheld(records, shown)
    fit = {key: u for key, u in shown.items() if key not in withheld}
    known = {record.unit.key for record in records}
    changes = []
    removed = []
    for record in records:
        after = _after(record, fit.get(record.unit.key))
        if after is None:
            removed.append(record)
        elif after != record:
            after = dataclasses.replace(
                after, generation=record.generation + 1
            )
            changes.append(Change(record, after))
    return Plan(
        added=_by_address(u for key, u in fit.items() if key not in known),
        changed=tuple(changes),
        removed=tuple(removed),
        withheld=_by_address(shown[key] for key in withheld),
    )


def _withheld(records: Sequence[UnitRecord], shown: _Shown) -> set[UnitKey]:
    """The shown units that share a function with another that stays.

    Held units stay as they are, and quarantined ones that are not shown;
    a quarantined one that is withheld stays as it was, and may so hold
    back another.
    """
    withheld: set[UnitKey] = set()
    while True:
        owners: dict[Address, UnitKey] = {
            function.address: record.unit.key
            for record in records
            if _stays(record, shown, withheld)
            for function in record.unit.functions
        }
        found = {
            key
            for key, unit in shown.items()
            if any(owners.get(f.address, key) != key for f in unit.functions)
        }
        if found <= withheld:
            return withheld
        withheld |= found


def _stays(record: UnitRecord, shown: _Shown, withheld: set[UnitKey]) -> bool:
    if record.state is State.FREE:
        return False
    key = record.unit.key
    is_held = record.state is not State.QUARANTINED
    return is_held or key not in shown or key in withheld


def _after(record: UnitRecord, unit: Unit | None) -> UnitRecord | None:
    """What becomes of a record; None when it goes.

    :param unit: what the host shows of it.
    """
    if unit is None:
        if record.state is State.FREE:
            return None
        return dataclasses.replace(record, is_missing=True)
    if record.state not in (State.FREE, State.QUARANTINED):
        if _endpoints(unit) != _endpoints(record.unit):
            return dataclasses.replace(record, is_missing=True)
        return dataclasses.replace(record, unit=unit, is_missing=False)
    after = dataclasses.replace(record, unit=unit, is_missing=False)
    reason = _stranger(record.unit, unit)
    if reason and record.state is State.FREE:
        return dataclasses.replace(
            after, state=State.QUARANTINED, reason=reason
        )
    return after


def _endpoints(unit: Unit) -> dict[Address, tuple[int, int]]:
    return {f.address: (f.vendor_id, f.product_id) for f in unit.functions}


def _stranger(before: Unit, after: Unit) -> str:
    """What changed identity at its address; empty when nothing did."""
    old, new = _endpoints(before), _endpoints(after)
    for address in sorted(old.keys() & new.keys()):
        if old[address] != new[address]:
            return (
                f"{address} was {_ids(old[address])} and is"
                f" {_ids(new[address])} now; clear the unit if that is"
                " meant to be"
            )
    return ""


def _ids(ids: tuple[int, int]) -> str:
    vendor_id, product_id = ids
    return f"{vendor_id:04x}:{product_id:04x}"


def _by_address(units: Iterable[Unit]) -> tuple[Unit, ...]:
    return tuple(sorted(units, key=lambda unit: unit.key.address))

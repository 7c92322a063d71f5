"""Carrying out what ``allocation.inventory`` decided, provider by provider.

No request spans them all, so that the order is what keeps the ledger right
when this dies anywhere, or runs twice at once for one host:

1. The host's generation is counted on.  Its units are read after that: one
   who counted before is seen, or sees that others counted since.
2. What goes, goes; what changes is closed, changed, and stays closed; what
   comes has no inventory yet.  Nobody can claim what is closed.
3. If the host's generation is the same still, what is closed is opened.
   If not, all of it is done again.
"""

from __future__ import annotations

from gpu_passthrough_plugin.allocation import inventory, rules
from gpu_passthrough_plugin.allocation.inventory import Plan
from gpu_passthrough_plugin.allocation.placement import (
    changes,
    ends,
    hosts,
    lease,
    neighbours,
    reading,
    site,
)
from gpu_passthrough_plugin.allocation.placement.changes import Opening
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Host
from gpu_passthrough_plugin.allocation.placement.providers import (
    changed,
    put_inventory,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.allocation.rules import Shown
from gpu_passthrough_plugin.model.allocation import SyncReport


def publish(service: Service, shown: Shown) -> SyncReport:
    """Make ``shown`` the inventory of its host; what that changed.

    :raises Refused: when another machine published under its name, or
        Nova reports the same functions.
    :raises Again: when others changed the same meanwhile.
    """
    host = hosts.ensure(service, shown.host)
    rules.require_machine(host.machine, shown)
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if planned.is_empty and site.traits(host, shown) == host.traits:
        return _report(planned, host.generation)
    is_counted = not planned.is_empty or shown.aggregates != host.aggregates
    generation = host.generation + is_counted
    highest = max((_highest(service, host), *_counts(found, planned)))
    version = put_inventory(
        service,
        host.node,
        host.version,
        lease.host_inventory(generation, highest),
    )
    version = site.write(service, host, shown, version)
    # What others did before they could see that this began.
    found = _units(service, host, shown)
    planned = _plan(found, shown)
    if max(_counts(found, planned), default=0) > highest:
        raise changed(f"a unit of host {host.name}", "another count")
    openings = _carry_out(service, host, found, planned, highest)
    _require_version(service, host, version)
    changes.open_(service, openings)
    return _report(planned, generation)


def _units(service: Service, host: Host, shown: Shown) -> Fleet:
    """The host's units, with no hold left of them that ended."""
    found = reading.read(service, host.name)
    known = {stored.uuid for stored in found.units}
    neighbours.clear(service, host, known, shown.units)
    if any(stored.is_ended for stored in found.units):
        ends.finish(service, found.units)
        found = reading.read(service, host.name)
    return found


def _plan(found: Fleet, shown: Shown) -> Plan:
    return inventory.plan([s.record for s in found.units], shown.units)


def _highest(service: Service, host: Host) -> int:
    """The highest count that a unit of the host had when it went."""
    found = service.get(f"/resource_providers/{host.node}/inventories")
    return lease.highest(found["inventories"])


def _counts(found: Fleet, planned: Plan) -> list[int]:
    """The counts of the units that go."""
    gone = {record.unit.key for record in planned.removed}
    return [s.lease.count for s in found.units if s.record.unit.key in gone]


def _carry_out(
    service: Service, host: Host, found: Fleet, planned: Plan, highest: int
) -> list[Opening]:
    """What goes first, what comes last: no function is in two units.

    :param highest: count of a unit that went; who comes begins after it,
        so that no record of a unit is one of its next life.
    """
    stored = {s.record.unit.key: s for s in found.units}
    for record in planned.removed:
        changes.remove(service, stored[record.unit.key])
    openings = []
    for change in planned.changed:
        of = stored[change.before.unit.key]
        opening = changes.change(service, of, change)
        if opening is not None:
            openings.append(opening)
    for unit in planned.added:
        first = lease.first(highest)
        openings.append(changes.add(service, host.root, unit, first))
    return openings


def _require_version(service: Service, host: Host, version: int) -> None:
    """Return when nobody else publishes for the same host meanwhile."""
    found = service.get(f"/resource_providers/{host.node}")
    if found["generation"] != version:
        raise changed(f"the inventory of host {host.name}", "another began")


def _report(planned: Plan, generation: int) -> SyncReport:
    return SyncReport(
        added=planned.added,
        changed=tuple(change.after.unit for change in planned.changed),
        removed=tuple(record.unit for record in planned.removed),
        missing=planned.missing,
        generation=generation,
        withheld=planned.withheld,
    )

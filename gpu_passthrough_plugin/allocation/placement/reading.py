"""Reading hosts, units and who holds them out of Placement.

Requests are no snapshot of one instant.  What is decided on what was read
is guarded where it is written: by the count that a claim names, and by the
generation that a move names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.allocation.placement import fleet, lease, names
from gpu_passthrough_plugin.allocation.placement.fleet import Fleet, Stored
from gpu_passthrough_plugin.allocation.placement.lease import Lease
from gpu_passthrough_plugin.allocation.placement.providers import changed
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.unit import UnitRecord

# How often a unit is looked at that others change meanwhile.
_LOOKS = 5


def read(
    service: Service,
    host: str | None = None,
    *,
    is_offered: bool = False,
    aggregate: str | None = None,
) -> Fleet:
    """Hosts and their units; of all hosts by default.

    Two requests, whatever there is of them; one more for each unit that
    several have something of.

    :param is_offered: leave disabled hosts out.
    :param aggregate: only hosts that are in it.
    """
    asked = [("required", names.IS_HOST)]
    if host is not None:
        asked.append(("name", names.host_provider(host)))
    providers = service.get("/resource_providers", *asked)
    listed = providers["resource_providers"]
    if not listed:
        return Fleet()
    query = [("resources", f"{names.HOST}:1"), ("required", names.IS_HOST)]
    if is_offered:
        query[-1] = ("required", f"{names.IS_HOST},!{names.IS_DISABLED}")
        query.append(("root_required", f"!{names.NOVA_DISABLED}"))
    if aggregate is not None:
        query.append(("member_of", names.aggregate(aggregate)))
    if host is not None:
        query.append(("in_tree", listed[0]["root_provider_uuid"]))
    candidates = service.get("/allocation_candidates", *query)
    known = {
        uuid: lease.taken(holders(service, uuid).values())
        for uuid in fleet.shared(candidates)
    }
    return fleet.fleet(providers, candidates, known)


def is_offered(
    service: Service, host: str, aggregate: str | None = None
) -> bool:
    """Whether units of a host may be claimed, as one of the aggregate."""
    found = read(service, host, is_offered=True, aggregate=aggregate)
    return bool(found.hosts)


def records(
    service: Service, units: Iterable[Stored]
) -> tuple[UnitRecord, ...]:
    """The records of units, each with who holds it.

    :raises Again: when one changed at each look.
    """
    return tuple(_record(service, unit) for unit in units)


def _record(service: Service, unit: Stored) -> UnitRecord:
    for _ in range(_LOOKS):
        consumer = consumer_of(service, unit)
        is_told = consumer is not None or not unit.taken.takers
        if is_told or unit.is_nobodys:
            return unit.held_by(consumer)
        # Whoever had it when it was read has it no more.
        host = unit.record.unit.key.host
        now = {u.uuid: u for u in read(service, host).units}
        if unit.uuid not in now:
            break
        unit = now[unit.uuid]
    raise changed(f"unit {unit.record.unit.key}", "another holder")


def consumer_of(service: Service, unit: Stored) -> str | None:
    """The UUID of who holds a unit; None when nobody does."""
    if unit.is_nobodys:
        return None
    for name, amount in holders(service, unit.uuid).items():
        if amount == unit.taken.amount:
            return name
    return None


def holders(service: Service, uuid: str) -> dict[str, int]:
    """How much of a unit's lease each consumer has that has some of it."""
    found = service.found(f"/resource_providers/{uuid}/allocations")
    allocations = found["allocations"] if found else {}
    return {
        consumer: int(entry["resources"].get(names.LEASE, 0))
        for consumer, entry in allocations.items()
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer that Placement has allocations of.

    :param generation: of the consumer.
    :param project: ``project_id``.
    :param asked: ``user_id``: what a consumer of ours asked for.
    :param type: None below microversion 1.38.
    :param allocations: amounts by provider and resource class.
    """

    uuid: str
    generation: int
    project: str
    asked: str
    type: str | None
    allocations: dict[str, dict[str, int]]

    @property
    def is_ours(self) -> bool:
        return self.project == names.PROJECT

    @property
    def is_bidding(self) -> bool:
        """Whether bids are all that it has."""
        return all(lease.is_bid(self.amount(u)) for u in self.allocations)

    def amount(self, uuid: str) -> int:
        """How much of a unit's lease it has; 0 for nothing."""
        return self.allocations.get(uuid, {}).get(names.LEASE, 0)

    def body(
        self, allocations: Mapping[str, Mapping[str, int]]
    ) -> dict[str, object]:
        """What makes these its allocations, and leaves it as it is."""
        return {
            "allocations": {
                uuid: {"resources": resources}
                for uuid, resources in allocations.items()
            },
            "project_id": self.project,
            "user_id": self.asked,
            "consumer_generation": self.generation,
            **({} if self.type is None else {"consumer_type": self.type}),
        }


def consumer(service: Service, uuid: str) -> Consumer | None:
    """What a consumer has; None when that is nothing."""
    found = service.get(f"/allocations/{uuid}")
    if not found["allocations"]:
        return None
    return Consumer(
        uuid=uuid,
        generation=found["consumer_generation"],
        project=found["project_id"],
        asked=found["user_id"],
        type=found.get("consumer_type"),
        allocations={
            provider: dict(entry["resources"])
            for provider, entry in found["allocations"].items()
        },
    )


def holds(service: Service, found: Consumer) -> tuple[UnitRecord, ...]:
    """The units that a consumer holds, by address.

    Not those that are left in its allocations after its hold ended.
    """
    host = _host(service, found)
    if host is None:
        return ()
    return tuple(
        unit.held_by(found.uuid)
        for unit in read(service, host).units
        if found.amount(unit.uuid) == unit.taken.amount
        and unit.lease.is_held_by(unit.taken.amount)
    )


def bids(service: Service, found: Consumer) -> tuple[Stored, ...]:
    """The units that a consumer bids for, by address."""
    host = _host(service, found)
    if host is None:
        return ()
    return tuple(
        unit
        for unit in read(service, host).units
        if unit.is_free and found.amount(unit.uuid) == unit.lease.bid
    )


def _host(service: Service, found: Consumer) -> str | None:
    """The host that has a consumer's units: they are all of one."""
    for uuid in found.allocations:
        provider = service.found(f"/resource_providers/{uuid}")
        key = names.unit_of(provider["name"]) if provider else None
        if key is not None:
            return key.host
    return None


def lease_of(service: Service, uuid: str) -> Lease | None:
    """The lease of a provider; None when it has none."""
    found = service.found(f"/resource_providers/{uuid}/inventories")
    own = found["inventories"].get(names.LEASE) if found else None
    if own is None:
        return None
    return lease.of_total(own["total"], own["min_unit"])

"""One provider at a time: a unit's or a host's, read and changed.

Each change names the generation of the provider that it was decided on;
Placement refuses it when another client changed the provider since.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals, validation
from gpu_passthrough_plugin.allocation.inventory import Publication
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.fleet import (
    Host,
    StoredUnit,
)
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    Service,
    conflict_code,
    error_detail,
    retry_changed,
)
from gpu_passthrough_plugin.allocation.placement.state_counter import (
    Inventory,
    StateCounter,
    Usage,
)
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State, UnitRecord


def ensure_provider(
    service: Service, name: str, parent: str | None
) -> tuple[str, int]:
    """Return the UUID and generation of a provider; create it if needed.

    :param parent: UUID of the provider to create it below; None for a root.
    :raises Retry: when another client created it meanwhile.
    :raises Unavailable: when Placement rejects the name.
    """
    for entry in service.providers(("name", name)):
        return entry["uuid"], entry["generation"]
    new = {"name": name}
    if parent is not None:
        new["parent_provider_uuid"] = parent
    reply = service.post("/resource_providers", new)
    if reply.status == 200:
        return reply.body["uuid"], reply.body["generation"]
    detail = error_detail(reply)
    if conflict_code(reply) in (
        ConflictCode.DUPLICATE,
        ConflictCode.CONCURRENT,
    ):
        raise retry_changed(f"provider {name}", detail)
    raise errors.Unavailable(
        f"Placement {service.name} rejects a provider named {name}"
        f" ({detail}); a name has at most {names.MAX_PROVIDER_NAME}"
        " characters: check [DEFAULT] host"
    )


def put_inventory(
    service: Service, uuid: str, generation: int, inventory: Inventory
) -> int:
    """Replace all inventories of a provider; return its new generation.

    :param generation: of the provider.
    :raises Retry: when the provider changed, or is gone.
    """
    service.create_classes(inventory)
    body = service.update(
        f"/resource_providers/{uuid}/inventories",
        {
            "resource_provider_generation": generation,
            "inventories": inventory,
        },
        f"the inventory of provider {uuid}",
    )
    return int(body["resource_provider_generation"])


def put_traits(
    service: Service, uuid: str, generation: int, traits: frozenset[str]
) -> int:
    """Replace all traits of a provider; return its new generation.

    :param generation: of the provider.
    :raises Retry: when the provider changed, or is gone.
    """
    service.create_traits(traits)
    body = service.update(
        f"/resource_providers/{uuid}/traits",
        {
            "resource_provider_generation": generation,
            "traits": sorted(traits),
        },
        f"the traits of provider {uuid}",
    )
    return int(body["resource_provider_generation"])


def delete_traits(service: Service, traits: Collection[str]) -> None:
    """Delete traits of this driver that no provider has any more."""
    for trait in traits:
        service.delete(f"/traits/{trait}")
    if traits:
        service.forget()


@dataclasses.dataclass(frozen=True, slots=True)
class UnitProvider:
    """A unit's provider, and what consumers have of it.

    :param generation: of the provider.
    :param resource_class: of the unit.
    :param amounts: how much of the state counter each consumer has.
    :param token: of the move that wrote the inventory; 1 where a host
        published it.
    """

    uuid: str
    generation: int
    resource_class: str
    counter: StateCounter
    amounts: Mapping[str, int]
    token: int = 1

    @property
    def usage(self) -> Usage:
        return state_counter.usage_of(self.amounts.values())

    @property
    def state(self) -> State:
        return self.counter.state(self.usage)

    @property
    def record_generation(self) -> int:
        """Return the generation of the unit's record."""
        return self.counter.generation(self.usage)

    def has_other_holder(self, record: UnitRecord) -> bool:
        """Whether another consumer than the record's holds the unit."""
        amount = self.usage.amount
        if record.consumer is None or not self.counter.is_held_by(amount):
            return False
        return self.amounts.get(record.consumer) != amount


def read_unit(service: Service, uuid: str) -> UnitProvider | None:
    """Return a unit's provider as it is now; None when it is gone.

    The inventory is read first: an amount that does not match it belongs to
    a later change.
    """
    body = service.get_if_found(f"/resource_providers/{uuid}/inventories")
    if body is None or names.STATE_COUNTER not in body["inventories"]:
        return None
    inventories = body["inventories"]
    classes = (name for name in inventories if name != names.STATE_COUNTER)
    resource_class = next(classes, "")
    return UnitProvider(
        uuid=uuid,
        generation=int(body["resource_provider_generation"]),
        resource_class=resource_class,
        counter=_counter_in(service, inventories),
        amounts=reading.read_amounts(service, uuid),
        token=inventories.get(resource_class, {}).get("max_unit", 1),
    )


def read_counter(service: Service, uuid: str) -> StateCounter | None:
    """Return the state counter of a provider; None when it has none."""
    body = service.get_if_found(f"/resource_providers/{uuid}/inventories")
    if body is None or names.STATE_COUNTER not in body["inventories"]:
        return None
    return _counter_in(service, body["inventories"])


def _counter_in(
    service: Service, inventories: Mapping[str, Mapping[str, int]]
) -> StateCounter:
    inventory = inventories[names.STATE_COUNTER]
    with service.readable():
        return state_counter.from_total(
            inventory["total"], inventory["min_unit"]
        )


def unchanged_generation(service: Service, stored: StoredUnit) -> int:
    """Return the generation of a unit's provider.

    :raises Retry: when the unit changed since ``stored`` was read.
    """
    subject = f"unit {stored.record.unit.key}"
    now = read_unit(service, stored.uuid)
    if now is None or now.counter.total != stored.counter.total:
        raise retry_changed(subject, "another count")
    if now.usage != stored.usage:
        raise retry_changed(subject, "another holder")
    return now.generation


def ensure_host(service: Service, name: str) -> Host:
    """Return a host; create its providers if needed.

    :raises Retry: when another client creates them now.
    """
    for host in reading.read_fleet(service, name).hosts:
        return host
    root, _ = ensure_provider(service, name, None)
    uuid, generation = ensure_provider(
        service, names.host_provider(name), root
    )
    generation = put_traits(
        service, uuid, generation, frozenset({names.HOST_TRAIT})
    )
    inventory = state_counter.host_inventory(generation=0, highest=0)
    put_inventory(service, uuid, generation, inventory)
    return reading.read_fleet(service, name).hosts[0]


def cordon(
    service: Service, name: str, reason: str, expected: str | None
) -> HostRecord:
    """Offer no units of a host; return its new record.

    :param expected: why it is cordoned now, empty for a host that is
        offered; None for whatever it is.
    :raises Refused: when the ledger has no such host.
    :raises Conflict: when it is not as expected.
    :raises Retry: when another client changed it meanwhile.
    """
    host = _existing_host(service, name)
    if host.record.reason != reason:
        # An attempt whose answer was lost may have written it.
        validation.require_cordon(host.record, expected)
    cordon_traits = names.text_traits(names.CORDON_REASON, [reason])
    put_traits(
        service,
        host.provider,
        host.provider_generation,
        _uncordoned_traits(host) | cordon_traits | {names.CORDONED_TRAIT},
    )
    return _existing_host(service, name).record


def uncordon(service: Service, name: str, expected: str | None) -> HostRecord:
    """Offer a host's free units again; return its new record.

    :param expected: as of ``cordon``.
    :raises Refused: when the ledger has no such host, or Nova disabled it.
    :raises Conflict: when it is not as expected.
    :raises Retry: when another client changed it meanwhile.
    """
    host = _existing_host(service, name)
    if names.CORDONED_TRAIT in host.traits:
        validation.require_cordon(host.record, expected)
    traits = _uncordoned_traits(host)
    if traits != host.traits:
        put_traits(service, host.provider, host.provider_generation, traits)
        delete_traits(service, host.traits - traits - {names.CORDONED_TRAIT})
    record = _existing_host(service, name).record
    if host.is_disabled_by_nova:
        raise errors.Refused(f"host {name} stays cordoned: {record.reason}")
    return record


def watch(service: Service, name: str, is_watched: bool) -> None:
    """Keep whether a host is lost once its agent answers no more.

    :raises Refused: when the ledger has no such host.
    :raises Retry: when another client changed it meanwhile.
    """
    host = _existing_host(service, name)
    traits = host.traits - {names.WATCHED_TRAIT}
    if is_watched:
        traits |= {names.WATCHED_TRAIT}
    if traits != host.traits:
        put_traits(service, host.provider, host.provider_generation, traits)


def _existing_host(service: Service, name: str) -> Host:
    for host in reading.read_fleet(service, name).hosts:
        return host
    raise refusals.host_unknown(name)


def _uncordoned_traits(host: Host) -> frozenset[str]:
    traits = host.traits - {names.CORDONED_TRAIT}
    return names.without_texts(traits, names.CORDON_REASON)


def published_traits(host: Host, publication: Publication) -> frozenset[str]:
    """Return the traits of a host's provider after it published."""
    machine = publication.machine or host.machine
    return (
        names.without_texts(host.traits, names.MACHINE, names.AGGREGATE)
        | names.text_traits(names.MACHINE, [machine])
        | names.text_traits(names.AGGREGATE, publication.aggregates)
    )


def put_host_metadata(
    service: Service, host: Host, publication: Publication, generation: int
) -> int:
    """Write the machine and the aggregates that a host publishes.

    The aggregates come first, because the traits tell which of the
    aggregates in Placement this driver wrote earlier.

    :param generation: of the host's provider.
    :return: the new generation of the host's provider.
    :raises Retry: when another client changed either meanwhile.
    """
    if publication.aggregates != host.aggregates:
        _put_aggregates(service, host, publication)
    traits = published_traits(host, publication)
    if traits == host.traits:
        return generation
    generation = put_traits(service, host.provider, generation, traits)
    delete_traits(service, host.traits - traits)
    return generation


def _put_aggregates(
    service: Service, host: Host, publication: Publication
) -> None:
    path = f"/resource_providers/{host.root}/aggregates"
    body = service.get(path)
    present = set(body["aggregates"])
    foreign = present - {names.aggregate(name) for name in host.aggregates}
    new = foreign | {names.aggregate(name) for name in publication.aggregates}
    if new == present:
        return
    generation = body["resource_provider_generation"]
    service.update(
        path,
        {
            "aggregates": sorted(new),
            "resource_provider_generation": generation,
        },
        f"the aggregates of host {host.name}",
    )

"""Requests that change one provider, each guarded by its generation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation import refusals
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reading,
    state_counter,
)
from gpu_passthrough_plugin.allocation.placement.reading import (
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
from gpu_passthrough_plugin.allocation.validation import Shown
from gpu_passthrough_plugin.model.allocation import HostRecord
from gpu_passthrough_plugin.model.unit import State, UnitRecord


def ensure_provider(
    service: Service, name: str, parent: str | None
) -> tuple[str, int]:
    """The UUID and generation of a provider, made if there is none.

    :raises Retry: when its name is taken, and nobody has it.
    """
    listed = service.get("/resource_providers", ("name", name))
    for entry in listed["resource_providers"]:
        return entry["uuid"], entry["generation"]
    body = {"name": name}
    if parent is not None:
        body["parent_provider_uuid"] = parent
    reply = service.post("/resource_providers", body)
    if reply.status == 200:
        return reply.body["uuid"], reply.body["generation"]
    if conflict_code(reply) in (
        ConflictCode.DUPLICATE,
        ConflictCode.CONCURRENT,
    ):
        raise retry_changed(f"provider {name}", error_detail(reply))
    raise errors.Unavailable(
        f"Placement {service.name} does not take a provider {name}"
        f" ({error_detail(reply)}); its name has at most {names.MAX_NAME}"
        " characters: check [DEFAULT] host"
    )


def put_inventory(
    service: Service, uuid: str, generation: int, inventory: Inventory
) -> int:
    """Make that the inventory of a provider; its generation then.

    :raises Retry: when its generation is another, or it is gone.
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
    """Make these the traits of a provider; its generation then.

    :raises Retry: when its generation is another, or it is gone.
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


def delete_traits(service: Service, traits: Iterable[str]) -> None:
    """Take traits of ours away from Placement, where nobody has them."""
    for trait in traits:
        service.delete(f"/traits/{trait}")
    service.forget()


@dataclasses.dataclass(frozen=True, slots=True)
class UnitProvider:
    """A unit's provider.

    :param generation: of the provider.
    :param resource_class: of the unit.
    :param holders: how much of the lease each of its takers has.
    """

    uuid: str
    generation: int
    resource_class: str
    counter: StateCounter
    holders: Mapping[str, int]

    @property
    def usage(self) -> Usage:
        return state_counter.usage_of(self.holders.values())

    def is_anothers(self, record: UnitRecord) -> bool:
        """Whether the one that a record names has not what is held."""
        amount = self.usage.amount
        if record.consumer is None or not self.counter.is_held_by(amount):
            return False
        return self.holders.get(record.consumer) != amount

    @property
    def state(self) -> State:
        return self.counter.state(self.usage)

    @property
    def record_generation(self) -> int:
        return self.counter.generation(self.usage)


def read_unit(service: Service, uuid: str) -> UnitProvider | None:
    """A unit's provider as it is now; None when it is gone."""
    found = service.get_if_found(f"/resource_providers/{uuid}/inventories")
    if found is None or names.STATE_COUNTER not in found["inventories"]:
        return None
    inventories = found["inventories"]
    classes = (name for name in inventories if name != names.STATE_COUNTER)
    return UnitProvider(
        uuid=uuid,
        generation=int(found["resource_provider_generation"]),
        resource_class=next(classes, ""),
        counter=_counter_in(inventories),
        holders=reading.counter_amounts(service, uuid),
    )


def read_counter(service: Service, uuid: str) -> StateCounter | None:
    """The state counter of a provider; None when it has none."""
    found = service.get_if_found(f"/resource_providers/{uuid}/inventories")
    if found is None or names.STATE_COUNTER not in found["inventories"]:
        return None
    return _counter_in(found["inventories"])


def _counter_in(inventories: Mapping[str, Mapping[str, int]]) -> StateCounter:
    own = inventories[names.STATE_COUNTER]
    return state_counter.from_total(own["total"], own["min_unit"])


def unchanged_generation(service: Service, stored: StoredUnit) -> int:
    """The generation of a unit's provider, where it is what it was.

    :raises Retry: when it is not.
    """
    now = read_unit(service, stored.uuid)
    if now is None or now.counter.total != stored.counter.total:
        raise retry_changed(f"unit {stored.record.unit.key}", "another count")
    if now.usage != stored.usage:
        raise retry_changed(f"unit {stored.record.unit.key}", "another holder")
    return now.generation


def ensure_host(service: Service, host: str) -> Host:
    """A host, made if there is none, below the compute node's provider.

    :raises Retry: when others make it just now.
    """
    found = reading.read_fleet(service, host).hosts
    if found:
        return found[0]
    root, _ = ensure_provider(service, host, None)
    uuid, generation = ensure_provider(
        service, names.host_provider(host), root
    )
    generation = put_traits(
        service, uuid, generation, frozenset({names.HOST_TRAIT})
    )
    put_inventory(
        service, uuid, generation, state_counter.host_inventory(0, 0)
    )
    return reading.read_fleet(service, host).hosts[0]


def cordon(service: Service, name: str, reason: str) -> HostRecord:
    """Offer nothing of a host.

    :raises Refused: when there is no such host.
    :raises Retry: when others changed it meanwhile.
    """
    host = _existing_host(service, name)
    said = names.text_traits(reading.CORDON_REASON, [reason]) | {
        names.CORDONED_TRAIT
    }
    put_traits(
        service,
        host.provider,
        host.provider_generation,
        _traits_without_cordon(host) | said,
    )
    return _existing_host(service, name).record


def uncordon(service: Service, name: str) -> HostRecord:
    """Offer a host's free units again.

    :raises Refused: when there is no such host, or Nova disabled it.
    :raises Retry: when others changed it meanwhile.
    """
    host = _existing_host(service, name)
    kept = _traits_without_cordon(host)
    if kept != host.traits:
        put_traits(service, host.provider, host.provider_generation, kept)
        delete_traits(service, host.traits - kept - {names.CORDONED_TRAIT})
    found = _existing_host(service, name).record
    if host.is_disabled_by_nova:
        raise errors.Refused(f"host {name} stays disabled: {found.reason}")
    return found


def _existing_host(service: Service, name: str) -> Host:
    found = reading.read_fleet(service, name).hosts
    if not found:
        raise refusals.host_unknown(name)
    return found[0]


def _traits_without_cordon(host: Host) -> frozenset[str]:
    begin = f"{names.TRAIT_PREFIX}{reading.CORDON_REASON}_"
    return frozenset(
        trait
        for trait in host.traits - {names.CORDONED_TRAIT}
        if not trait.startswith(begin)
    )


def published_host_traits(host: Host, shown: Shown) -> frozenset[str]:
    """The traits of our provider of the host, once it published."""
    kept = frozenset(t for t in host.traits if not _is_published(t))
    machine = shown.machine or host.machine
    return (
        kept
        | names.text_traits(reading.MACHINE, [machine])
        | names.text_traits(reading.AGGREGATE, shown.aggregates)
    )


def _is_published(trait: str) -> bool:
    kinds = (reading.MACHINE, reading.AGGREGATE)
    return any(
        trait.startswith(f"{names.TRAIT_PREFIX}{kind}_") for kind in kinds
    )


def write_host_metadata(
    service: Service, host: Host, shown: Shown, generation: int
) -> int:
    """Write machine and aggregates down; our provider's generation then.

    The aggregates first: the traits tell which of them were ours.

    :raises Retry: when others changed either meanwhile.
    """
    if shown.aggregates != host.aggregates:
        _write_aggregates(service, host, shown)
    wanted = published_host_traits(host, shown)
    if wanted == host.traits:
        return generation
    generation = put_traits(service, host.provider, generation, wanted)
    delete_traits(service, host.traits - wanted)
    return generation


def _write_aggregates(service: Service, host: Host, shown: Shown) -> None:
    path = f"/resource_providers/{host.root}/aggregates"
    found = service.get(path)
    has = set(found["aggregates"])
    left = has - {names.aggregate(name) for name in host.aggregates}
    wanted = left | {names.aggregate(name) for name in shown.aggregates}
    if wanted == has:
        return
    service.update(
        path,
        {
            "aggregates": sorted(wanted),
            "resource_provider_generation": found[
                "resource_provider_generation"
            ],
        },
        f"the aggregates of host {host.name}",
    )

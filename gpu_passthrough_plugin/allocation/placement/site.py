"""What a host publishes of itself, besides its units."""

from __future__ import annotations

from gpu_passthrough_plugin.allocation.placement import fleet, names, text
from gpu_passthrough_plugin.allocation.placement.failure import detail
from gpu_passthrough_plugin.allocation.placement.fleet import Host
from gpu_passthrough_plugin.allocation.placement.providers import (
    changed,
    delete_traits,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.allocation.rules import Shown


def traits(host: Host, shown: Shown) -> frozenset[str]:
    """The traits of our provider of the host, once it published."""
    kept = frozenset(t for t in host.traits if not _is_said(t))
    machine = shown.machine or host.machine
    return (
        kept
        | text.traits(fleet.MACHINE, [machine])
        | text.traits(fleet.AGGREGATE, shown.aggregates)
    )


def _is_said(trait: str) -> bool:
    kinds = (fleet.MACHINE, fleet.AGGREGATE)
    return any(trait.startswith(f"{names.FACT}{kind}_") for kind in kinds)


def write(service: Service, host: Host, shown: Shown, generation: int) -> int:
    """Write machine and aggregates down; our provider's generation then.

    The aggregates first: the traits tell which of them were ours.

    :raises Again: when others changed either meanwhile.
    """
    if shown.aggregates != host.aggregates:
        _write_aggregates(service, host, shown)
    wanted = traits(host, shown)
    if wanted == host.traits:
        return generation
    generation = put_traits(service, host.node, generation, wanted)
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
    reply = service.put(
        path,
        {
            "aggregates": sorted(wanted),
            "resource_provider_generation": found[
                "resource_provider_generation"
            ],
        },
    )
    if reply.status != 200:
        raise changed(f"the aggregates of host {host.name}", detail(reply))

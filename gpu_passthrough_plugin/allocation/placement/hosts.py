"""Hosts: made when they publish first, disabled and enabled."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    fleet,
    lease,
    names,
    reading,
    text,
)
from gpu_passthrough_plugin.allocation.placement.fleet import Host
from gpu_passthrough_plugin.allocation.placement.providers import (
    delete_traits,
    made,
    put_inventory,
    put_traits,
)
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.allocation import HostRecord


def ensure(service: Service, host: str) -> Host:
    """A host, made if there is none, below the compute node's provider.

    :raises Again: when others make it just now.
    """
    found = reading.read(service, host).hosts
    if found:
        return found[0]
    root, _ = made(service, host, None)
    uuid, generation = made(service, names.host_provider(host), root)
    generation = put_traits(
        service, uuid, generation, frozenset({names.IS_HOST})
    )
    put_inventory(service, uuid, generation, lease.host_inventory(0, 0))
    return reading.read(service, host).hosts[0]


def disable(service: Service, name: str, reason: str) -> HostRecord:
    """Offer nothing of a host.

    :raises Refused: when there is no such host.
    :raises Again: when others changed it meanwhile.
    """
    host = _known(service, name)
    said = text.traits(fleet.WHY, [reason]) | {names.IS_DISABLED}
    put_traits(service, host.node, host.version, _without_why(host) | said)
    return _known(service, name).record


def enable(service: Service, name: str) -> HostRecord:
    """Offer a host's free units again.

    :raises Refused: when there is no such host, or Nova disabled it.
    :raises Again: when others changed it meanwhile.
    """
    host = _known(service, name)
    kept = _without_why(host)
    if kept != host.traits:
        put_traits(service, host.node, host.version, kept)
        delete_traits(service, host.traits - kept - {names.IS_DISABLED})
    found = _known(service, name).record
    if host.is_disabled_by_nova:
        raise errors.Refused(f"host {name} stays disabled: {found.reason}")
    return found


def _known(service: Service, name: str) -> Host:
    found = reading.read(service, name).hosts
    if not found:
        raise errors.Refused(
            f"the ledger has no host {name}; see 'gpu-passthrough inventory"
            " hosts'"
        )
    return found[0]


def _without_why(host: Host) -> frozenset[str]:
    begin = f"{names.FACT}{fleet.WHY}_"
    return frozenset(
        trait
        for trait in host.traits - {names.IS_DISABLED}
        if not trait.startswith(begin)
    )

"""Providers of the same functions that are no units: Nova's, and leftovers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.allocation.placement.failure import Json
from gpu_passthrough_plugin.allocation.placement.fleet import Host
from gpu_passthrough_plugin.allocation.placement.service import Service
from gpu_passthrough_plugin.model.unit import Unit


def clear(
    service: Service, host: Host, known: Collection[str], units: Sequence[Unit]
) -> None:
    """Return when nobody else has these functions in Placement.

    What somebody left who died while he added a unit, is taken away if it
    is not to be added now.

    :param known: UUIDs of the host's units.
    :raises Refused: when Nova reports one of the functions itself.
    """
    addresses = {f.address for unit in units for f in unit.functions}
    wanted = {unit.key for unit in units}
    tree = service.get("/resource_providers", ("in_tree", host.root))
    for entry in tree["resource_providers"]:
        key = names.unit_of(entry["name"])
        if key is None or entry["uuid"] in known:
            continue
        traits = _traits(service, entry["uuid"])
        is_ours = names.IS_UNIT in traits
        if (
            key.address in addresses
            and not is_ours
            and not _is_bare(service, entry, traits)
        ):
            raise _two_ledgers(entry["name"], key.host)
        if is_ours and key not in wanted:
            _remove(service, entry["uuid"])


def _traits(service: Service, uuid: str) -> frozenset[str]:
    found = service.found(f"/resource_providers/{uuid}/traits")
    return frozenset(found["traits"]) if found else frozenset()


def _is_bare(service: Service, entry: Json, traits: frozenset[str]) -> bool:
    """Whether a provider is but a name: ours, a moment after it was made."""
    if traits:
        return False
    found = service.found(f"/resource_providers/{entry['uuid']}/inventories")
    return not found or not found["inventories"]


def _remove(service: Service, uuid: str) -> None:
    found = service.found(f"/resource_providers/{uuid}/inventories")
    if found is not None and not found["inventories"]:
        service.delete(f"/resource_providers/{uuid}")


def _two_ledgers(name: str, host: str) -> errors.Refused:
    return errors.Refused(
        f"Placement has a provider {name} that is not this ledger's: Nova"
        " reports that device itself, and two ledgers would hand it out"
        " twice; either leave it to Nova ([allocation] driver = sql, and"
        f" 'gpu-passthrough nova config'), or on host {host} take the device"
        " out of Nova's [pci] device_spec and delete that provider"
    )

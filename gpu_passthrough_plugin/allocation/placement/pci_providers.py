"""Providers that Nova made for PCI devices, and their reservations."""

from __future__ import annotations

import time
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement.service import (
    Json,
    Retry,
    Service,
)
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.one_time_use import (
    ONE_TIME_USE,
    Amounts,
    PciProvider,
)

# Placement changes a provider's generation with each change of its
# inventories, traits and allocations, but for an allocation that is deleted
# with its consumer.  Source: placement, objects/allocation.py (delete_all).
_REREAD_S = 300.0


class _Seen(NamedTuple):
    """A host's devices as they were read.

    :param read_s: when, by the monotonic clock.
    """

    generations: dict[str, int]
    read_s: float
    providers: tuple[PciProvider, ...]


class PlacementPciProviders:
    """See :class:`~gpu_passthrough_plugin.model.one_time_use.PciProviders`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._roots: dict[str, str] = {}
        self._seen: _Seen | None = None

    def close(self) -> None:
        self._service.close()

    def read(self, host: str) -> tuple[PciProvider, ...]:
        return self._service.retry(lambda _attempt: self._read(host))

    def recent(self, host: str) -> tuple[PciProvider, ...]:
        generations = self._generations(host)
        now_s = time.monotonic()
        if (
            self._seen is None
            or self._seen.generations != generations
            or now_s > self._seen.read_s + _REREAD_S
        ):
            self._seen = _Seen(generations, now_s, self._read(host))
        return self._seen.providers

    def _generations(self, host: str) -> dict[str, int]:
        """Return the generations of a host's devices, by their UUIDs."""
        root = self._roots.get(host) or self._root(host)
        entries = list(self._service.providers(("in_tree", root)))
        if not entries:
            # The host was removed, and may have been added again.
            root = self._root(host)
            entries = list(self._service.providers(("in_tree", root)))
        self._roots[host] = root
        return {
            entry["uuid"]: entry["generation"]
            for entry in entries
            if _place(host, entry["name"]) is not None
        }

    def unreserve(self, provider: PciProvider) -> None:
        path = f"/resource_providers/{provider.uuid}/inventories"
        body = self._service.retry(lambda _attempt: self._service.get(path))
        generation = body["resource_provider_generation"]
        if generation != provider.generation:
            raise _changed(provider)
        inventories = {
            name: {**inventory, "reserved": 0}
            for name, inventory in body["inventories"].items()
        }
        try:
            self._service.update(
                path,
                {
                    "resource_provider_generation": generation,
                    "inventories": inventories,
                },
                f"the inventory of provider {provider.name}",
            )
        except Retry as error:
            raise _changed(provider) from error

    def _root(self, host: str) -> str:
        """Return the UUID of a host's root provider."""
        root = next(iter(self._service.providers(("name", host))), None)
        if root is None:
            raise errors.Refused(
                f"Placement {self._service.name} has no provider named"
                f" {host!r}; expected Nova's name of this host's hypervisor:"
                " see 'openstack hypervisor list', and give it with --host, or"
                " as [agent] nova_host"
            )
        return str(root["uuid"])

    def _read(self, host: str) -> tuple[PciProvider, ...]:
        tree = ("in_tree", self._root(host))
        # The others matter only beside one of these.
        one_time = self._one_time(tree)
        if not one_time:
            return ()
        providers = [
            self._provider(entry, place, entry["uuid"] in one_time)
            for entry in self._service.providers(tree)
            if (place := _place(host, entry["name"])) is not None
        ]
        return tuple(sorted(providers, key=lambda one: one.address))

    def _one_time(self, tree: tuple[str, str]) -> frozenset[str]:
        """Return the UUIDs of the providers that are for one use."""
        # Placement refuses a query for a trait that it does not know, which
        # one with an older os-traits does not.
        names = self._service.get("/traits", ("name", f"in:{ONE_TIME_USE}"))
        if not names["traits"]:
            return frozenset()
        entries = self._service.providers(tree, ("required", ONE_TIME_USE))
        return frozenset(entry["uuid"] for entry in entries)

    def _provider(
        self, entry: Json, place: address.Address, is_one_time: bool
    ) -> PciProvider:
        path = f"/resource_providers/{entry['uuid']}"
        # Before the allocations: one that comes meanwhile changes the
        # generation, which is compared before anything is changed.
        inventories = self._service.get(f"{path}/inventories")
        allocations = self._service.get(f"{path}/allocations")
        with self._service.readable():
            amounts = tuple(
                _amounts(name, inventory)
                for name, inventory in sorted(
                    inventories["inventories"].items()
                )
            )
        return PciProvider(
            uuid=entry["uuid"],
            name=entry["name"],
            address=place,
            generation=inventories["resource_provider_generation"],
            is_one_time=is_one_time,
            inventories=amounts,
            consumers=tuple(sorted(allocations["allocations"])),
        )


def _place(host: str, name: str) -> address.Address | None:
    """Return the address in a provider's name; None where it has none.

    Source: nova, compute/pci_placement_translator.py.
    """
    prefix = f"{host}_"
    if not name.startswith(prefix):
        return None
    try:
        return address.parse(name.removeprefix(prefix).lower())
    except errors.Invalid:
        return None


def _amounts(name: str, inventory: Json) -> Amounts:
    total, reserved = inventory["total"], inventory.get("reserved", 0)
    if type(reserved) is not int:
        raise errors.not_valid(f"reserved of {name}", reserved, "a number")
    return Amounts(name, total, reserved)


def _changed(provider: PciProvider) -> errors.Conflict:
    return errors.Conflict(
        f"provider {provider.name} changed while its device was cleaned; it"
        " stays reserved; try again"
    )

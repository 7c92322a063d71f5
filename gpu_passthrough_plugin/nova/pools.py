"""What Nova's scheduler knows of a host's free functions, as values.

Nova keeps a mapping for each pool of functions that it does not tell
apart: ids, type, NUMA node, the address, the resource provider's UUID and
whatever tags their ``[pci] device_spec`` has.  A request of a flavor is
for so many functions that have the properties of one of its specs.
Source: nova 34, pci/stats.py, pci/request.py and
objects/instance_pci_requests.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from gpu_passthrough_plugin.model import trait

# Tags of the full mode: which group a function is in, how many functions
# Nova was given of it, and its traits.
GROUP_TAG = "iommu_group"
SIZE_TAG = "iommu_group_size"
TRAITS_TAG = "iommu_group_traits"
# A tag of both modes: the PCIe switch that it is below.
SWITCH_TAG = "pci_switch"

# Placement checks these, and pools do not have them.
_OF_PLACEMENT = frozenset({"resource_class", "traits", "rp_uuids", "rp_uuid"})
# These tell one function from others of its kind, or are checked otherwise.
_OWN = _OF_PLACEMENT | {
    "address",
    "numa_node",
    GROUP_TAG,
    TRAITS_TAG,
    SWITCH_TAG,
}

Properties = frozenset[tuple[str, object]]


@dataclasses.dataclass(frozen=True)
class Pool:
    """Free functions of one resource provider.

    :param provider: its UUID; None where Nova does not report it.
    :param group: name of its IOMMU group; None without the tag.
    :param group_size: functions of that group that Nova was given, free or
        not; None where that is not known.
    :param traits: those that a tag names; Placement may know more.
    :param numa_node: None where it has none.
    :param switch: name of its PCIe switch; None without the tag.
    :param properties: all that a request can name, in lower case.
    """

    provider: str | None
    count: int
    group: str | None
    group_size: int | None
    traits: frozenset[str]
    numa_node: int | None
    switch: str | None
    address: str
    properties: Properties

    @property
    def group_key(self) -> tuple[str | None, str | None]:
        """Return what identifies its group, or the pool where it has none."""
        alone = None if self.group else self.provider or self.address
        return self.group, alone

    @functools.cached_property
    def kind(self) -> Properties:
        """Return the properties that do not depend on the function's place."""
        return frozenset(p for p in self.properties if p[0] not in _OWN)


@dataclasses.dataclass(frozen=True, slots=True)
class AliasRequest:
    """One alias of a flavor, with its count.

    :param request_id: what the names of its request groups begin with.
    :param specs: alternatives, each the properties that it requires.
    :param traits: those that its provider has to have.
    """

    request_id: str
    count: int
    specs: tuple[Properties, ...]
    traits: frozenset[str]

    def accepts(self, pool: Pool) -> bool:
        """Return whether the functions are what it names.

        Resource class and traits are Placement's to check.
        """
        return any(spec <= pool.properties for spec in self.specs)


def read_pools(pools: Iterable[Mapping[str, Any]]) -> tuple[Pool, ...]:
    """Return the pools that have a function left, by address.

    :raises LookupError, TypeError, ValueError: when one is not as Nova
        makes them.
    """
    parsed = (_pool(pool) for pool in pools if pool["count"] > 0)
    return tuple(sorted(parsed, key=lambda p: (p.address, p.provider or "")))


def read_requests(requests: Iterable[Any]) -> tuple[AliasRequest, ...]:
    """Return what a flavor asks for.

    A request without an alias is a network port's: it is left alone.

    :param requests: Nova's ``InstancePCIRequest`` objects.
    """
    return tuple(
        AliasRequest(
            request_id=request.request_id,
            count=request.count,
            specs=tuple(_properties(spec) for spec in request.spec),
            traits=frozenset().union(
                *(_traits(spec.get("traits")) for spec in request.spec)
            ),
        )
        for request in requests
        if request.alias_name is not None
    )


def _pool(pool: Mapping[str, Any]) -> Pool:
    size = pool.get(SIZE_TAG)
    return Pool(
        provider=pool.get("rp_uuid"),
        count=pool["count"],
        group=pool.get(GROUP_TAG) or None,
        group_size=None if size is None else int(size),
        traits=_traits(pool.get(TRAITS_TAG)),
        numa_node=pool.get("numa_node"),
        switch=pool.get(SWITCH_TAG) or None,
        address=str(pool.get("address", "")),
        properties=_properties(pool) - {("count", pool["count"])},
    )


def _traits(names: str | None) -> frozenset[str]:
    """Source: nova, objects/request_spec.py (``_traits_from_request``)."""
    return frozenset(map(trait.normal, names.split(",") if names else ()))


def _properties(mapping: Mapping[str, Any]) -> Properties:
    """Return what Nova compares; a key whose value is None counts as absent.

    Source: nova, pci/utils.py (``pci_device_prop_match``).
    """
    return frozenset(
        (key, value.lower() if isinstance(value, str) else value)
        for key, value in mapping.items()
        if key not in _OF_PLACEMENT and key != "devices" and value is not None
    )

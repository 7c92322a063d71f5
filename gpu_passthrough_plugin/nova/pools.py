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
GROUP = "iommu_group"
SIZE = "iommu_group_size"
TRAITS = "iommu_group_traits"
# A tag of both modes: the PCIe switch that it is below.
SWITCH = "pci_switch"

# Placement looks at these, and pools do not have them.
_OF_PLACEMENT = frozenset({"resource_class", "traits", "rp_uuids", "rp_uuid"})
# These say which of its kind it is, where, or what is looked at otherwise.
_OWN = _OF_PLACEMENT | {"address", "numa_node", GROUP, TRAITS, SWITCH}

Properties = frozenset[tuple[str, object]]


@dataclasses.dataclass(frozen=True)
class Pool:
    """Free functions of one resource provider.

    :param provider: its UUID; None where Nova does not report it.
    :param group: what names its IOMMU group; None without the tag.
    :param size: functions of that group that Nova was given, free or not;
        None where that is not known.
    :param traits: those that a tag says; Placement may know more.
    :param node: the NUMA node; None where it has none.
    :param switch: what names its PCIe switch; None without the tag.
    :param properties: all that a request can name, in lower case.
    """

    provider: str | None
    count: int
    group: str | None
    size: int | None
    traits: frozenset[str]
    node: int | None
    switch: str | None
    address: str
    properties: Properties

    @property
    def piece(self) -> tuple[str | None, str | None]:
        """What it is handed out with: its group, or it alone."""
        alone = None if self.group else self.provider or self.address
        return self.group, alone

    @functools.cached_property
    def kind(self) -> Properties:
        """The same for all functions that only their place tells apart."""
        return frozenset(p for p in self.properties if p[0] not in _OWN)


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """One alias of a flavor, with its count.

    :param key: what the names of its request groups begin with.
    :param specs: alternatives, each the properties that it wants.
    :param traits: what its provider has to have.
    """

    key: str
    count: int
    specs: tuple[Properties, ...]
    traits: frozenset[str]

    def suits(self, pool: Pool) -> bool:
        """Whether the functions are what it names, as far as Nova sees."""
        return any(spec <= pool.properties for spec in self.specs)


def pools(found: Iterable[Mapping[str, Any]]) -> tuple[Pool, ...]:
    """The pools that have a function left, by address.

    :raises LookupError, TypeError, ValueError: when one is not as Nova
        makes them.
    """
    parsed = (_pool(pool) for pool in found if pool["count"] > 0)
    return tuple(sorted(parsed, key=lambda p: (p.address, p.provider or "")))


def asks(requests: Iterable[Any]) -> tuple[Ask, ...]:
    """What a flavor asks for.

    A request without an alias is a network port's: it is left alone.

    :param requests: Nova's ``InstancePCIRequest`` objects.
    """
    return tuple(
        Ask(
            key=request.request_id,
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
    size = pool.get(SIZE)
    return Pool(
        provider=pool.get("rp_uuid"),
        count=pool["count"],
        group=pool.get(GROUP) or None,
        size=None if size is None else int(size),
        traits=_traits(pool.get(TRAITS)),
        node=pool.get("numa_node"),
        switch=pool.get(SWITCH) or None,
        address=str(pool.get("address", "")),
        properties=_properties(pool) - {("count", pool["count"])},
    )


def _traits(names: str | None) -> frozenset[str]:
    """Source: nova, objects/request_spec.py (``_traits_from_request``)."""
    return frozenset(map(trait.normal, names.split(",") if names else ()))


def _properties(of: Mapping[str, Any]) -> Properties:
    """Source: nova, pci/utils.py (``pci_device_prop_match``).

    What is there and None is as good as what is not there.
    """
    return frozenset(
        (key, value.lower() if isinstance(value, str) else value)
        for key, value in of.items()
        if key not in _OF_PLACEMENT and key != "devices" and value is not None
    )

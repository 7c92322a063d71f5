"""``[pci] device_spec`` and ``alias`` entries, spelled as Nova reads them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.model.unit import DeviceType


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One function that Nova may hand out; what is None is not written.

    The ids stand beside the address because a physical function's address
    alone matches its virtual functions too, and because another card may
    be in that slot one day.  Source: nova, pci/devspec.py.

    :param resource_class: Placement's name; None for the one that Nova
        makes of the ids.
    :param iommu_group: a free-form tag, the same for all of one group.
    :param group_size: another: how many of that group have an entry, so
        that one that is in use is missed by whoever sees the free ones.
    :param group_traits: another: the traits again, which Nova keeps from
        its scheduler's filters.
    :param switch: another: the PCIe switch that it is below.
    """

    address: Address
    vendor_id: int
    product_id: int
    resource_class: str | None = None
    traits: frozenset[str] = frozenset()
    managed: bool | None = None
    live_migratable: bool | None = None
    one_time_use: bool | None = None
    iommu_group: str | None = None
    group_size: int | None = None
    group_traits: frozenset[str] = frozenset()
    switch: Address | None = None

    def __str__(self) -> str:
        return _line(
            {
                "address": str(self.address),
                "vendor_id": _hex(self.vendor_id),
                "product_id": _hex(self.product_id),
                "resource_class": self.resource_class,
                "traits": _traits(self.traits),
                "managed": _yes(self.managed),
                "live_migratable": _yes(self.live_migratable),
                "one_time_use": _yes(self.one_time_use),
                "iommu_group": self.iommu_group,
                "iommu_group_size": _text(self.group_size),
                "iommu_group_traits": _traits(self.group_traits),
                "pci_switch": _text(self.switch),
            }
        )


@dataclasses.dataclass(frozen=True, slots=True)
class AliasEntry:
    """A name that a flavor uses, and what satisfies it.

    The device type is always there: Nova takes none for type-PCI in one
    place, and fails without one in another (pci/request.py).
    """

    name: str
    vendor_id: int
    product_id: int
    device_type: DeviceType
    numa_policy: NumaPolicy | None = None
    resource_class: str | None = None
    traits: frozenset[str] = frozenset()
    live_migratable: bool | None = None

    def __str__(self) -> str:
        return _line(
            {
                "name": self.name,
                "vendor_id": _hex(self.vendor_id),
                "product_id": _hex(self.product_id),
                "device_type": self.device_type.value,
                "numa_policy": self.numa_policy and self.numa_policy.value,
                "resource_class": self.resource_class,
                "traits": _traits(self.traits),
                "live_migratable": _yes(self.live_migratable),
            }
        )


def _line(entry: Mapping[str, str | None]) -> str:
    """Texts only: a number where Nova wants hex digits ends its service."""
    return json.dumps({k: v for k, v in entry.items() if v is not None})


def _hex(number: int) -> str:
    return f"{number:04x}"


def _text(value: int | Address | None) -> str | None:
    return None if value is None else str(value)


def _traits(traits: frozenset[str]) -> str | None:
    """Without spaces: Nova splits at the comma, and keeps the space."""
    return ",".join(sorted(traits)) or None


def _yes(value: bool | None) -> str | None:
    return None if value is None else ("yes" if value else "no")

"""``[pci] device_spec`` values as Nova reads them.

Source: nova, pci/whitelist.py and pci/devspec.py (PciDeviceSpec).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_entry, nova_pci_address
from gpu_passthrough_plugin.formats.nova_entry import Fault
from gpu_passthrough_plugin.formats.nova_pci_address import ANY, Pattern
from gpu_passthrough_plugin.formats.oslo_config_file import Value

GROUP_TAG = "iommu_group"
SIZE_TAG = "iommu_group_size"
TRAITS_TAG = "iommu_group_traits"
SWITCH_TAG = "pci_switch"
NETWORK_TAG = "physical_network"

# A host has some dozens of devices that it hands out.
_MOST = 1000
_IDS = ("vendor_id", "product_id")
_MATCHED = frozenset({*_IDS, "address", "devname"})
_YES_OR_NO = ("managed", "live_migratable", "one_time_use")
_TEXTS = ("resource_class", "traits")
_UNREAD = (
    "write a simpler one, or an entry for each address: what this one"
    " matches was not looked at"
)


class DeviceSpec(NamedTuple):
    """One entry: which functions it means, and what it says of them.

    :param place: file and line of the value that it is in.
    :param vendor_id: four lower hexadecimal digits, or ``*``.
    :param devname: of a network interface, in the address's stead.
    :param tags: everything else that it says.
    """

    place: str
    vendor_id: str
    product_id: str
    pattern: Pattern
    devname: str | None
    tags: Mapping[str, object]

    @property
    def is_network(self) -> bool:
        """Whether Neutron asks for these, and Placement never does."""
        return bool(self.tags.get(NETWORK_TAG))

    @property
    def group_tag(self) -> str | None:
        """What says which group a function is of, to a filter."""
        tag = self.tags.get(GROUP_TAG)
        return None if tag is None else str(tag)

    def tag(self, name: str) -> str:
        """What a tag says; empty where there is none."""
        said = self.tags.get(name)
        return said if isinstance(said, str) else ""


def parse(
    values: Sequence[Value],
) -> tuple[tuple[DeviceSpec, ...], tuple[Fault, ...]]:
    """The entries in the order in which Nova tries them, and the faults.

    :raises Invalid: when there are more than any host has devices.
    """
    specs: list[DeviceSpec] = []
    faults: list[Fault] = []
    for value in values:
        try:
            objects = list(_objects(nova_entry.loaded(value.text)))
        except errors.Invalid as error:
            faults.append(Fault(value.place, str(error)))
            continue
        for item in objects:
            unread = nova_pci_address.intricate(item.get("address"))
            if unread:
                faults.append(Fault(value.place, unread, _UNREAD))
                continue
            try:
                specs.append(_spec(value.place, item))
            except errors.Invalid as error:
                faults.append(Fault(value.place, str(error)))
        if len(specs) + len(faults) > _MOST:
            raise errors.Invalid(
                f"{value.place}: more than {_MOST} device_spec entries;"
                " wanted those of one host"
            )
    return tuple(specs), tuple(faults)


def _objects(read: object) -> Iterator[dict[str, object]]:
    """A value is one object or a list of them."""
    for item in read if isinstance(read, list) else [read]:
        if not isinstance(item, dict):
            raise errors.Invalid("wanted a JSON object such as {...}")
        yield item


def _spec(place: str, item: Mapping[str, object]) -> DeviceSpec:
    vendor, product = (_id(item, name) for name in _IDS)
    devname, address = item.get("devname"), item.get("address")
    if devname and address:
        raise errors.Invalid("it has both address and devname; keep one")
    for name in _YES_OR_NO:
        nova_entry.truth(name, item.get(name))
    for name in _TEXTS:
        if item.get(name) is not None:
            nova_entry.text(name, item[name])
    return DeviceSpec(
        place=place,
        vendor_id=vendor,
        product_id=product,
        pattern=nova_pci_address.parse(address),
        devname=nova_entry.text("devname", devname) if devname else None,
        tags={k: v for k, v in item.items() if k not in _MATCHED},
    )


def _id(item: Mapping[str, object], name: str) -> str:
    said = nova_entry.text(name, item.get(name, ANY))
    # Nova strips a vendor only; a product's spaces matter beside a *.
    if name == "vendor_id":
        said = said.strip()
    return nova_pci_address.hexadecimal(name, said, 0xFFFF, 4)

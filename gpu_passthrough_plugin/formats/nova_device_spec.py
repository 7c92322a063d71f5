"""Nova's ``[pci] device_spec``: entries as Nova reads and writes them.

Source: nova, pci/whitelist.py and pci/devspec.py (PciDeviceSpec).

What Nova accepts and this does not: ``devname``, ``resource_class`` and
``traits`` that are no text, which fail later or match nothing; and regular
expressions that would take long to try.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import (
    device_ids,
    nova_entry,
    nova_pci_address,
)
from gpu_passthrough_plugin.formats.nova_entry import Key
from gpu_passthrough_plugin.formats.nova_pci_address import (
    ANY,
    EVERYTHING,
    AddressPattern,
)
from gpu_passthrough_plugin.formats.nova_release import (
    NEWEST,
    Feature,
    Release,
)
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.reading import Unknown

_MAX_ID = 0xFFFF
NETWORK_TAG = "physical_network"
REMOTE_TAG = "remote_managed"


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One entry: which devices Nova may hand out, and what it says of them.

    What is None the entry does not set.  ``str()`` is the entry's JSON.

    :param vendor_id: None for any, as ``product_id``.
    :param devname: a network interface, instead of an address.
    :param traits: names as written between the commas.
    :param tags: every other key: a free-form tag of each device.
    """

    address: AddressPattern = EVERYTHING
    vendor_id: int | None = None
    product_id: int | None = None
    devname: str | None = None
    resource_class: str | None = None
    traits: tuple[str, ...] = ()
    managed: bool | None = None
    live_migratable: bool | None = None
    one_time_use: bool | None = None
    tags: Mapping[str, object] = dataclasses.field(
        default_factory=dict, hash=False
    )

    @property
    def is_everything(self) -> bool:
        """Return whether it matches every device."""
        return (
            self.vendor_id is None
            and self.product_id is None
            and self.devname is None
            and self.address.is_everything
        )

    @property
    def is_network(self) -> bool:
        """Return whether only Neutron requests its devices, not Placement.

        Not with null, the value for overlays: Nova reports these.
        Source: nova, compute/pci_placement_translator.py (_add_dev).
        """
        return bool(self.tags.get(NETWORK_TAG))

    @property
    def is_remote_managed(self) -> bool:
        """Return whether a DPU manages its devices, so no alias gets them.

        Source: nova, pci/devspec.py and pci/stats.py
        (_filter_pools_for_unrequested_remote_managed_devices).
        """
        return nova_entry.boolean(self.tags.get(REMOTE_TAG)) is True

    @property
    def given_traits(self) -> frozenset[str]:
        """Return the traits as Nova normalises the names."""
        return frozenset(map(trait.normal, self.traits))

    def matches(
        self,
        address: Address,
        vendor_id: int | Unknown,
        product_id: int | Unknown,
        physical: Address | None,
        is_physical: Callable[[str], bool],
    ) -> bool:
        """Return whether it matches a device; never by ``devname``.

        The address of a physical function matches its virtual functions
        too.

        :param physical: of a virtual function, the one it belongs to.
        :param is_physical: whether an address is a physical function's.
        """
        if (
            self.devname is not None
            or self.vendor_id not in (None, vendor_id)
            or self.product_id not in (None, product_id)
        ):
            return False
        if self.address.matches(address):
            return True
        single = self.address.single
        return (
            physical is not None
            and single != ""
            and self.address.matches(physical)
            and is_physical(single)
        )

    def __str__(self) -> str:
        ids = (self.vendor_id, self.product_id)
        vendor, product = (
            None if n is None else device_ids.text(n) for n in ids
        )
        address = None if self.address == EVERYTHING else self.address.value
        return nova_entry.dump(
            {
                "address": address,
                "vendor_id": vendor,
                "product_id": product,
                "devname": self.devname,
                "resource_class": self.resource_class,
                "traits": ",".join(self.traits) or None,
                "managed": nova_entry.spelled(self.managed),
                "live_migratable": nova_entry.spelled(self.live_migratable),
                "one_time_use": nova_entry.spelled(self.one_time_use),
                **self.tags,
            }
        )


def _anything(value: object) -> str:
    return ""


def _text_or_null(value: object) -> str:
    return "" if value is None else nova_entry.text(value)


MATCHED = ("vendor_id", "product_id", "address", "devname")
"""The keys that devices are matched by; all others are tags."""

KEYS: Mapping[str, Key] = {
    "vendor_id": Key(nova_entry.text),
    "product_id": Key(nova_entry.text),
    "address": Key(_anything),
    "devname": Key(_text_or_null),
    "resource_class": Key(_text_or_null, Feature.SPEC_CLASS, True),
    "traits": Key(_text_or_null, Feature.SPEC_TRAITS, True),
    "managed": Key(nova_entry.yes_or_no, Feature.SPEC_MANAGED),
    "live_migratable": Key(nova_entry.yes_or_no, Feature.SPEC_MIGRATABLE),
    "one_time_use": Key(nova_entry.yes_or_no, Feature.SPEC_ONCE, True),
    NETWORK_TAG: Key(_anything),
    "trusted": Key(_anything),
    REMOTE_TAG: Key(_anything),
}
"""Every key that Nova itself reads: any other is a tag that it keeps."""

_TAGS = (NETWORK_TAG, "trusted", REMOTE_TAG)
_FIELDS = frozenset(KEYS) - {*_TAGS}


def load(text: str) -> Iterator[Mapping[str, object]]:
    """Yield the JSON objects of a value, which is one or a list of them.

    :raises Invalid: when it is anything else.
    """
    value = nova_entry.load(text)
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            raise errors.Invalid("not a JSON object; expected {…}")
        yield entry


def read(entry: Mapping[str, object], release: Release = NEWEST) -> DeviceSpec:
    """Return the entry that a JSON object is.

    :param release: to one that does not know a key it is a tag.
    :raises Faults: with everything in it that Nova refuses.
    """
    keys = {n: key for n, key in KEYS.items() if key.is_known(release)}
    fields = {k: v for k, v in entry.items() if k in keys and k in _FIELDS}
    faults = list(nova_entry.faults(entry, keys))
    if entry.get("devname") and entry.get("address"):
        faults.append("the entry has both address and devname; keep one")
    address, ids = EVERYTHING, dict[str, int | None]()
    try:
        address = nova_pci_address.parse(entry.get("address"))
    except errors.Invalid as error:
        faults.append(str(error))
    for name in ("vendor_id", "product_id"):
        try:
            ids[name] = _id(name, entry.get(name, ANY))
        except errors.Invalid as error:
            faults.append(str(error))
    if faults:
        raise errors.Faults(tuple(faults))
    return DeviceSpec(
        address=address,
        vendor_id=ids["vendor_id"],
        product_id=ids["product_id"],
        devname=_text(entry, "devname"),
        resource_class=_text(fields, "resource_class"),
        traits=nova_entry.names(_text(fields, "traits") or ""),
        managed=nova_entry.boolean(fields.get("managed")),
        live_migratable=nova_entry.boolean(fields.get("live_migratable")),
        one_time_use=nova_entry.boolean(fields.get("one_time_use")),
        tags={k: v for k, v in entry.items() if k not in fields},
    )


def _id(name: str, value: object) -> int | None:
    if not isinstance(value, str):
        return None
    # Nova strips a vendor only: " * " is no product.
    text = value.strip() if name == "vendor_id" else value
    return nova_pci_address.hexadecimal(name, text, _MAX_ID)


def _text(entry: Mapping[str, object], name: str) -> str | None:
    value = entry.get(name)
    return str(value) if value else None

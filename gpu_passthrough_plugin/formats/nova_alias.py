"""Nova's ``[pci] alias``: entries as Nova reads them, and as it writes them.

Source: nova, pci/request.py (_ALIAS_SCHEMA, get_alias_from_config).

What Nova accepts and this does not: an id with a line break at its end, and
a name of spaces only, neither of which any request can match.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import device_ids, nova_entry
from gpu_passthrough_plugin.formats.nova_entry import Key
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import resource_class, trait
from gpu_passthrough_plugin.model.request import Alias, NumaPolicy, Spec
from gpu_passthrough_plugin.model.unit import DeviceType

_MAX_NAME = 256
# The types of a whole card.
_CARDS = (DeviceType.PCI, DeviceType.PF)


@dataclasses.dataclass(frozen=True, slots=True)
class AliasEntry:
    """One entry: a name, and what a device has to be to satisfy it.

    What is None the entry does not set.  ``str()`` is the entry's JSON.

    :param traits: names as written between the commas.
    :param capability_type: accepted, and never satisfied by any device.
    """

    name: str
    vendor_id: int | None = None
    product_id: int | None = None
    device_type: DeviceType | None = None
    numa_policy: NumaPolicy | None = None
    resource_class: str | None = None
    traits: tuple[str, ...] = ()
    live_migratable: bool | None = None
    capability_type: str | None = None

    @property
    def has_ids(self) -> bool:
        return self.vendor_id is not None and self.product_id is not None

    @property
    def required_traits(self) -> frozenset[str]:
        """Return the traits as Nova normalises the names."""
        return frozenset(map(trait.normal, self.traits))

    def __str__(self) -> str:
        ids = (self.vendor_id, self.product_id)
        vendor, product = (
            None if n is None else device_ids.text(n) for n in ids
        )
        return nova_entry.dump(
            {
                "name": self.name,
                "vendor_id": vendor,
                "product_id": product,
                "capability_type": self.capability_type,
                "device_type": self.device_type,
                "numa_policy": self.numa_policy,
                "resource_class": self.resource_class,
                "traits": ",".join(self.traits) or None,
                "live_migratable": nova_entry.spelled(self.live_migratable),
            }
        )


def _name(value: object) -> str:
    fits = str(value).strip() and len(str(value)) <= _MAX_NAME
    expected = "" if fits else f"1 to {_MAX_NAME} characters"
    return nova_entry.text(value) or expected


def _id(value: object) -> str:
    try:
        device_ids.parse(str(value))
    except errors.Invalid:
        return nova_entry.text(value) or device_ids.EXPECTED
    return nova_entry.text(value)


def _yes_or_no(value: object) -> str:
    return nova_entry.text(value) or nova_entry.yes_or_no(value)


KEYS: Mapping[str, Key] = {
    "name": Key(_name),
    "vendor_id": Key(_id),
    "product_id": Key(_id),
    "capability_type": Key(nova_entry.one_of(("pci",))),
    "device_type": Key(nova_entry.one_of([*DeviceType])),
    "numa_policy": Key(nova_entry.one_of([*NumaPolicy])),
    "resource_class": Key(nova_entry.text, Feature.ALIAS_CLASS),
    "traits": Key(nova_entry.text, Feature.ALIAS_TRAITS),
    "live_migratable": Key(_yes_or_no, Feature.ALIAS_MIGRATABLE),
}
"""Every key: Nova refuses an entry with any other."""


def load(text: str) -> Mapping[str, object]:
    """Return the JSON object that a value of the option is.

    :raises Invalid: when it is not a JSON object.
    """
    entry = nova_entry.load(text)
    if not isinstance(entry, dict):
        raise errors.Invalid("not a JSON object; expected {…}")
    return entry


def read(entry: Mapping[str, object]) -> AliasEntry:
    """Return the entry that a JSON object is.

    :raises Faults: with everything in it that Nova refuses.
    """
    faults = [
        f"{key!r} is not a key of an alias; expected {', '.join(KEYS)}"
        for key in entry
        if key not in KEYS
    ]
    if "name" not in entry:
        faults.append("the alias has no name; add one")
    faults += nova_entry.faults(entry, KEYS)
    if faults:
        raise errors.Faults(tuple(faults))
    texts = {key: str(value) for key, value in entry.items() if value}
    vendor, product = texts.get("vendor_id"), texts.get("product_id")
    device_type, policy = texts.get("device_type"), texts.get("numa_policy")
    return AliasEntry(
        name=texts["name"].strip(),
        vendor_id=None if vendor is None else device_ids.parse(vendor),
        product_id=None if product is None else device_ids.parse(product),
        device_type=DeviceType(device_type) if device_type else None,
        numa_policy=NumaPolicy(policy) if policy else None,
        resource_class=texts.get("resource_class"),
        traits=nova_entry.names(texts.get("traits", "")),
        live_migratable=nova_entry.boolean(entry.get("live_migratable")),
        capability_type=texts.get("capability_type"),
    )


def conflict(first: AliasEntry, other: AliasEntry) -> str:
    """Return in what two entries of one name differ that may not.

    Empty where they go together.  A missing device type counts as type-PCI;
    Nova refuses a second entry where either has none.
    """
    for key, one, two in (
        ("numa_policy", _policy(first), _policy(other)),
        ("device_type", _device_type(first), _device_type(other)),
    ):
        if one is not two:
            return f"{key} {one} and {two}"
    return ""


def parse_aliases(lines: Sequence[str]) -> Mapping[str, Alias]:
    """Return what requests may name, by name.

    Entries of one name are alternatives.  In contrast to Nova an entry may
    leave out its ids, and then matches any; without a device type it means
    a whole card, whether or not that can do SR-IOV; and an empty name of a
    trait is ignored.

    :param lines: each one entry.
    :raises Faults: with everything that is wrong in any of them.
    """
    faults: list[str] = []
    entries: dict[str, list[AliasEntry]] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = read(load(line))
        except errors.Faults as error:
            faults += (
                f"[pci] alias number {number}: {f}" for f in error.faults
            )
            continue
        except errors.Invalid as error:
            faults.append(
                f"[pci] alias number {number}: {nova_entry.shown(line)} is"
                f" {error}"
            )
            continue
        alternatives = entries.setdefault(entry.name, [])
        alternatives.append(entry)
        difference = conflict(alternatives[0], entry)
        if difference:
            faults.append(
                f"[pci] alias number {number}: alias {entry.name!r} is defined"
                f" with {difference}; use the same in all of its entries"
            )
    if faults:
        raise errors.Faults(tuple(faults))
    return {
        name: Alias(
            name,
            _policy(same[0]),
            tuple(spec for entry in same for spec in _specs(entry)),
        )
        for name, same in entries.items()
    }


def _policy(entry: AliasEntry) -> NumaPolicy:
    return entry.numa_policy or NumaPolicy.LEGACY


def _device_type(entry: AliasEntry) -> DeviceType:
    return entry.device_type or DeviceType.PCI


def _specs(entry: AliasEntry) -> Iterator[Spec]:
    """Yield what satisfies an entry: one for each type that it allows."""
    name = entry.resource_class
    for device_type in (
        _CARDS if entry.device_type is None else (entry.device_type,)
    ):
        yield Spec(
            vendor_id=entry.vendor_id,
            product_id=entry.product_id,
            device_type=device_type,
            resource_class=resource_class.normal(name) if name else None,
            traits=frozenset(trait.normal(n) for n in entry.traits if n),
        )

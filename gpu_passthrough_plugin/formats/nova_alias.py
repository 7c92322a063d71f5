"""``[pci] alias`` values as Nova reads them.

Source: nova, pci/request.py (get_alias_from_config).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import nova_entry
from gpu_passthrough_plugin.formats.nova_entry import Fault
from gpu_passthrough_plugin.formats.oslo_config_file import Value
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.model.unit import DeviceType

_MOST = 1000
_ID = re.compile(r"[0-9a-fA-F]{4}")
_LONGEST_NAME = 256


class AliasEntry(NamedTuple):
    """One entry: a name, and what a function must be to satisfy it.

    :param vendor_id: None where any will do, as of the product.
    :param kind: None where it does not say.
    :param keys: those that it has.
    """

    place: str
    name: str
    vendor_id: str | None
    product_id: str | None
    kind: DeviceType | None
    numa_policy: str
    resource_class: str | None
    traits: str
    live_migratable: bool | None
    keys: frozenset[str]

    @property
    def has_ids(self) -> bool:
        return self.vendor_id is not None and self.product_id is not None

    @property
    def needs_placement(self) -> bool:
        """Whether only Placement knows what it asks for."""
        return bool(self.resource_class or self.traits)


def traits(names: str) -> frozenset[str]:
    """The traits that Nova reads: it splits at commas, and keeps spaces."""
    return frozenset(trait.normal(n) for n in names.split(",") if names)


def parse(
    values: Sequence[Value],
) -> tuple[tuple[AliasEntry, ...], tuple[Fault, ...]]:
    """The entries in their order, and what Nova does not start with.

    :raises Invalid: when there are too many to be one cloud's.
    """
    if len(values) > _MOST:
        raise errors.Invalid(
            f"{values[_MOST].place}: more than {_MOST} alias entries;"
            " wanted those of one cloud"
        )
    entries: list[AliasEntry] = []
    faults: list[Fault] = []
    for value in values:
        try:
            read = nova_entry.loaded(value.text)
        except errors.Invalid as error:
            faults.append(Fault(value.place, str(error)))
            continue
        found = _faults(read)
        faults += [Fault(value.place, fault) for fault in found]
        if isinstance(read, dict) and not found:
            entries.append(_entry(value.place, read))
    return tuple(entries), tuple(faults)


def _one_of(*wanted: str) -> Callable[[str], str]:
    text = ", ".join(wanted)
    return lambda said: "" if said in wanted else f"wanted one of {text}"


def _id(said: str) -> str:
    return "" if _ID.fullmatch(said) else "wanted 4 hex digits without 0x"


def _name(said: str) -> str:
    fits = said.strip() and len(said) <= _LONGEST_NAME
    return "" if fits else f"wanted 1 to {_LONGEST_NAME} characters"


def _truth(said: str) -> str:
    try:
        nova_entry.truth("", said)
    except errors.Invalid:
        return "wanted yes or no"
    return ""


def _any(said: str) -> str:
    return ""


_CHECKS: Mapping[str, Callable[[str], str]] = {
    "name": _name,
    "vendor_id": _id,
    "product_id": _id,
    "capability_type": _one_of("pci"),
    "device_type": _one_of(*DeviceType),
    "numa_policy": _one_of(*NumaPolicy),
    "resource_class": _any,
    "traits": _any,
    "live_migratable": _truth,
}


def _faults(read: object) -> list[str]:
    if not isinstance(read, dict):
        return ["wanted a JSON object such as {...}"]
    faults = [] if "name" in read else ["it has no name; add one"]
    for key, said in read.items():
        if key not in _CHECKS:
            known = ", ".join(_CHECKS)
            faults.append(f"{key!r} is no key of an alias; wanted of {known}")
        elif not isinstance(said, str):
            faults.append(f"{key} is {said!r}; wanted a text in double quotes")
        elif wanted := _CHECKS[key](said):
            faults.append(f"{key} is {said!r}; {wanted}")
    return faults


def _entry(place: str, read: Mapping[str, str]) -> AliasEntry:
    vendor, product = read.get("vendor_id"), read.get("product_id")
    kind = read.get("device_type")
    return AliasEntry(
        place=place,
        name=read["name"].strip(),
        vendor_id=vendor.lower() if vendor else None,
        product_id=product.lower() if product else None,
        kind=DeviceType(kind) if kind else None,
        numa_policy=read.get("numa_policy") or NumaPolicy.LEGACY,
        resource_class=read.get("resource_class") or None,
        traits=read.get("traits", ""),
        live_migratable=nova_entry.truth("", read.get("live_migratable")),
        keys=frozenset(read),
    )

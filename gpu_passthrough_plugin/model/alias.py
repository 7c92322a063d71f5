"""Nova's ``[pci] alias`` entries, parsed once at the border."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.request import Alias, NumaPolicy, Spec
from gpu_passthrough_plugin.model.unit import DeviceType

_ID = re.compile(r"[0-9a-fA-F]{4}")
_NAMES = "name, vendor_id, product_id, capability_type, device_type, "
_NAMES += "numa_policy, resource_class, traits, live_migratable"

Check = Callable[[str], str]


def _one_of(*values: str) -> Check:
    wanted = ", ".join(values)
    return lambda v: "" if v in values else f"wanted one of {wanted}"


def _pci_id(value: str) -> str:
    return "" if _ID.fullmatch(value) else "wanted 4 hex digits without 0x"


def _anything(value: str) -> str:
    return "" if value else "wanted a text that is not empty"


# Source: nova, pci/request.py (_ALIAS_SCHEMA).
_CHECKS: Mapping[str, Check] = {
    "name": lambda v: (
        "" if 1 <= len(v) <= 255 else "wanted 1 to 255 characters"
    ),
    "vendor_id": _pci_id,
    "product_id": _pci_id,
    "capability_type": _one_of("pci"),
    "device_type": _one_of(*DeviceType),
    "numa_policy": _one_of(*NumaPolicy),
    "resource_class": _anything,
    "traits": _anything,
    "live_migratable": _one_of("yes", "no", "true", "false"),
}


def parse(lines: Sequence[str]) -> Mapping[str, Alias]:
    """The aliases by name; entries of one name are alternatives.

    :param lines: each a JSON object with the keys that Nova takes.
    :raises Faults: with everything that is wrong in any of them.
    """
    faults: list[str] = []
    aliases: dict[str, Alias] = {}
    for number, line in enumerate(lines, 1):
        where = f"[pci] alias number {number}"
        entry, found = _entry(line)
        faults += [f"{where}: {fault}" for fault in found]
        if entry is None:
            continue
        alias = _alias(entry)
        before = aliases.get(alias.name)
        if before is None:
            aliases[alias.name] = alias
            continue
        fault = _clash(before, alias)
        if fault:
            faults.append(f"{where}: {fault}")
        aliases[alias.name] = Alias(
            alias.name, before.numa_policy, before.specs + alias.specs
        )
    if faults:
        raise errors.Faults(tuple(faults))
    return aliases


def _entry(line: str) -> tuple[dict[str, str] | None, list[str]]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        return None, [f"{line!r} is not JSON ({error})"]
    if not isinstance(entry, dict):
        return None, [f"{line!r} is not a JSON object such as {{...}}"]
    faults = [
        f"{key!r} is not a key of an alias; wanted one of {_NAMES}"
        for key in entry
        if key not in _CHECKS
    ]
    if "name" not in entry:
        faults.append(f"{line!r} has no name; add one")
    for key, value in entry.items():
        if key in _CHECKS:
            faults += _value_faults(key, value)
    return (None if faults else entry), faults


def _value_faults(key: str, value: object) -> list[str]:
    if not isinstance(value, str):
        return [f"{key} is {value!r}; wanted a text in double quotes"]
    wanted = _CHECKS[key](value)
    return [f"{key} is {value!r}; {wanted}"] if wanted else []


def _alias(entry: Mapping[str, str]) -> Alias:
    vendor, product = entry.get("vendor_id"), entry.get("product_id")
    spec = Spec(
        vendor_id=int(vendor, 16) if vendor else None,
        product_id=int(product, 16) if product else None,
        device_type=DeviceType(entry.get("device_type", DeviceType.PCI)),
        resource_class=entry.get("resource_class"),
        traits=frozenset(
            trait.normal(name)
            for name in entry.get("traits", "").split(",")
            if name
        ),
    )
    policy = NumaPolicy(entry.get("numa_policy", NumaPolicy.LEGACY))
    return Alias(entry["name"], policy, (spec,))


def _clash(before: Alias, alias: Alias) -> str:
    """What Nova refuses about two entries of one name, or nothing."""
    if before.numa_policy is not alias.numa_policy:
        return (
            f"alias {alias.name!r} has numa_policy {alias.numa_policy} here"
            f" and {before.numa_policy} before; give both the same"
        )
    if before.specs[0].device_type is not alias.specs[0].device_type:
        return (
            f"alias {alias.name!r} has device_type"
            f" {alias.specs[0].device_type} here and"
            f" {before.specs[0].device_type} before; give both the same"
        )
    return ""

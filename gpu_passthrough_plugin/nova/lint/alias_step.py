"""What a function has to satisfy for an alias to find it.

Source: nova, pci/stats.py (PciDeviceStats) and
compute/pci_placement_translator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint import entry, resource_class
from gpu_passthrough_plugin.nova.lint.alias_entry import AliasEntry, traits
from gpu_passthrough_plugin.nova.lint.case import Case
from gpu_passthrough_plugin.nova.lint.device import Device
from gpu_passthrough_plugin.nova.lint.device_spec import DeviceSpec

_MANAGED = "COMPUTE_MANAGED_PCI_DEVICE"
_MIGRATABLE = "HW_PCI_LIVE_MIGRATABLE"
_ONCE = "HW_PCI_ONE_TIME_USE"


class Offered(NamedTuple):
    """A function that an alias may find, and the entry that lists it."""

    device: Device
    spec: DeviceSpec | None


class Why(NamedTuple):
    """What is said of an alias that nothing is left for."""

    status: Status
    text: str
    remedy: str


class Step(NamedTuple):
    """One thing that a function has to satisfy."""

    fits: Callable[[AliasEntry, Offered, Case], bool]
    why: Callable[[AliasEntry, Sequence[Offered], Case], Why]


def _fits_ids(alias: AliasEntry, one: Offered, of: Case) -> bool:
    return _has_ids(alias, one.device)


def _has_ids(alias: AliasEntry, device: Device) -> bool:
    vendor, product = device.ids
    return alias.vendor_id in (None, vendor) and alias.product_id in (
        None,
        product,
    )


def _why_ids(alias: AliasEntry, left: Sequence[Offered], of: Case) -> Why:
    ids = f"{alias.vendor_id or '*'}:{alias.product_id or '*'}"
    if any(_has_ids(alias, device) for device in of.devices):
        return Why(
            Status.WARN,
            f"no device_spec lists {ids}, which is here",
            "list it in device_spec, or take the alias out",
        )
    return Why(
        Status.WARN,
        f"no function of this host is {ids}",
        "compare it with 'gpu-passthrough device list'; it may be another"
        " host's",
    )


def _fits_kind(alias: AliasEntry, one: Offered, of: Case) -> bool:
    """Nova gives a physical function only to who says so."""
    kind = one.device.kind
    if kind is None:
        return True
    if alias.kind is None:
        return kind is not DeviceType.PF
    return kind is alias.kind


def _why_kind(alias: AliasEntry, left: Sequence[Offered], of: Case) -> Why:
    kinds = sorted({one.device.kind for one in left if one.device.kind})
    said = f"says {alias.kind}" if alias.kind else "has no device_type"
    return Why(
        Status.FAIL,
        f"it {said}, and {left[0].device.address} shows up as"
        f" {' or '.join(kinds)}",
        f'say "device_type": "{kinds[0]}"',
    )


def _fits_class(alias: AliasEntry, one: Offered, of: Case) -> bool:
    is_placed = alias.needs_placement or bool(of.options.pci_in_placement)
    if one.spec is None or not is_placed:
        return True
    return not one.spec.is_network and _wanted(alias) == _class(one)


def _wanted(alias: AliasEntry) -> str:
    return resource_class.normal(
        alias.resource_class, alias.vendor_id or "", alias.product_id or ""
    )


def _class(one: Offered) -> str:
    named = one.spec.tag("resource_class") if one.spec else ""
    return resource_class.normal(named, *one.device.ids)


def _why_class(alias: AliasEntry, left: Sequence[Offered], of: Case) -> Why:
    there = sorted(
        {_class(one) for one in left if one.spec and not one.spec.is_network}
    )
    return Why(
        Status.FAIL,
        f"it asks Placement for {_wanted(alias)}, and device_spec offers"
        f" {', '.join(there) or 'no class at all'}",
        "say the same resource_class in both",
    )


def _fits_traits(alias: AliasEntry, one: Offered, of: Case) -> bool:
    return one.spec is None or not _lacking(alias, one.spec)


def _lacking(alias: AliasEntry, spec: DeviceSpec) -> frozenset[str]:
    """Nova adds some by itself."""
    given = traits(spec.tag("traits")) | {_MANAGED}
    for key, name in (
        ("live_migratable", _MIGRATABLE),
        ("one_time_use", _ONCE),
    ):
        if entry.truth(key, spec.tags.get(key)):
            given |= {name}
    return traits(alias.traits) - given


def _why_traits(alias: AliasEntry, left: Sequence[Offered], of: Case) -> Why:
    lost = min(
        (_lacking(alias, one.spec) for one in left if one.spec), key=len
    )
    return Why(
        Status.FAIL,
        f"no device_spec gives it {', '.join(sorted(lost))}",
        "name the same traits in both, without spaces",
    )


def _fits_migration(alias: AliasEntry, one: Offered, of: Case) -> bool:
    if alias.live_migratable is None or one.spec is None:
        return True
    said = entry.truth("", one.spec.tags.get("live_migratable"))
    return said is alias.live_migratable


def _why_migration(
    alias: AliasEntry, left: Sequence[Offered], of: Case
) -> Why:
    wanted = "yes" if alias.live_migratable else "no"
    return Why(
        Status.FAIL,
        f"no device_spec says live_migratable {wanted}",
        f'say "live_migratable": "{wanted}" there, or take it out here',
    )


STEPS = (
    Step(_fits_ids, _why_ids),
    Step(_fits_kind, _why_kind),
    Step(_fits_class, _why_class),
    Step(_fits_traits, _why_traits),
    Step(_fits_migration, _why_migration),
)
"""In the order in which they are tried."""

"""What is wrong with ``alias`` entries, held against what is listed.

What a function has to satisfy for an alias to find it.
Source: nova, pci/stats.py (PciDeviceStats) and
compute/pci_placement_translator.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import nova_entry
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry, traits
from gpu_passthrough_plugin.formats.nova_device_spec import DeviceSpec
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model import resource_class
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Role
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.whitelist import Case, Device

ALIASES, ALIAS_NAMES = "aliases", "alias names"
ALIAS_MATCHES = "alias matches"

# Source: nova, pci/request.py.
_SINCE: Mapping[str, Feature] = {
    "resource_class": Feature.ALIAS_CLASS,
    "traits": Feature.ALIAS_TRAITS,
    "live_migratable": Feature.ALIAS_MIGRATABLE,
}


def values(of: Case) -> Iterator[Finding]:
    """Entries that Nova does not start with."""
    for fault in of.alias_faults:
        yield fault.finding(ALIASES)
    for alias in of.aliases:
        for key, feature in _SINCE.items():
            if key in alias.keys and not of.release.knows(feature):
                yield _fail(
                    alias,
                    f"{of.release} refuses {key}",
                    "take it out, or upgrade Nova",
                )
        if not alias.has_ids:
            yield from _without_ids(alias, of)


def _without_ids(alias: AliasEntry, of: Case) -> Iterator[Finding]:
    """Source: nova, pci/request.py (_validate_required_ids)."""
    if alias.resource_class is None:
        yield _fail(
            alias,
            "has neither both ids nor a resource_class",
            "say vendor_id and product_id",
        )
    elif of.options.pci_in_placement is False:
        yield _fail(
            alias,
            "has a resource_class for its ids while pci_in_placement is off",
            "say both ids, or set [filter_scheduler] pci_in_placement = True",
        )


def kinds(of: Case) -> Iterator[Finding]:
    """Entries that do not say what they mean."""
    for alias in of.aliases:
        if alias.kind is None:
            yield Finding(
                ALIASES,
                Status.WARN,
                f"alias {alias.name!r} has no device_type",
                "say type-PCI, or what the card is: a second entry of that"
                " name would keep Nova from starting",
                alias.place,
            )


def names(of: Case) -> Iterator[Finding]:
    """Entries of one name that Nova does not take together."""
    first: dict[str, AliasEntry] = {}
    for alias in of.aliases:
        before = first.setdefault(alias.name, alias)
        if before is alias:
            continue
        fault = _clash(before, alias, of)
        if fault:
            yield Finding(
                ALIAS_NAMES,
                Status.FAIL,
                f"alias {alias.name!r} stands twice, {fault}",
                "give both the same, or another name to one of them",
                f"{before.place}, {alias.place}",
            )


def _clash(before: AliasEntry, alias: AliasEntry, of: Case) -> str:
    """Source: nova, pci/request.py (get_alias_from_config)."""
    if before.numa_policy != alias.numa_policy:
        return f"with numa_policy {before.numa_policy} and {alias.numa_policy}"
    if before.kind is None or alias.kind is None:
        return "and not each time with a device_type"
    if before.kind is not alias.kind:
        return f"with device_type {before.kind} and {alias.kind}"
    if of.options.pci_in_placement:
        return "which pci_in_placement does not allow"
    return ""


def _fail(alias: AliasEntry, text: str, remedy: str) -> Finding:
    detail = f"alias {alias.name!r} {text}"
    return Finding(ALIASES, Status.FAIL, detail, remedy, alias.place)


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
        if nova_entry.truth(key, spec.tags.get(key)):
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
    said = nova_entry.truth("", one.spec.tags.get("live_migratable"))
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


_STEPS = (
    Step(_fits_ids, _why_ids),
    Step(_fits_kind, _why_kind),
    Step(_fits_class, _why_class),
    Step(_fits_traits, _why_traits),
    Step(_fits_migration, _why_migration),
)
"""In the order in which they are tried."""


_ELSEWHERE = (
    "leave it if another host has such functions: another alias finds those"
    " of this one"
)


def matches(of: Case) -> Iterator[Finding]:
    """Entries that no function of this host can ever satisfy.

    Every host has the same aliases.  Where another entry finds all the
    functions that this one nearly does, it may be another host's.
    """
    offered = _offered(of)
    tried = [(alias, *_tried(alias, offered, of)) for alias in of.aliases]
    found = {
        one.device.address
        for _, left, failed in tried
        for one in left
        if failed is None
    }
    for alias, left, failed in tried:
        if failed is not None:
            is_found = all(one.device.address in found for one in left)
            yield _never(alias, failed.why(alias, left, of), is_found)


def _never(alias: AliasEntry, why: Why, is_found: bool) -> Finding:
    """:param is_found: whether another finds what this one nearly does."""
    status, remedy = why.status, why.remedy
    if status is Status.FAIL and is_found:
        status, remedy = Status.WARN, _ELSEWHERE
    says = "never matches" if status is Status.FAIL else "finds nothing here"
    detail = f"alias {alias.name!r} {says}: {why.text}"
    return Finding(ALIAS_MATCHES, status, detail, remedy, alias.place)


def _offered(of: Case) -> list[Offered]:
    """What is listed; where no file lists anything, every endpoint."""
    if of.options.device_spec:
        return [Offered(pair.device, pair.spec) for pair in of.pairs]
    return [Offered(d, None) for d in of.devices if d.role is not Role.BRIDGE]


def _tried(
    alias: AliasEntry, offered: Sequence[Offered], of: Case
) -> tuple[Sequence[Offered], Step | None]:
    """What is left, and the first thing that none of it satisfies."""
    left = offered
    for step in _STEPS:
        fit = [one for one in left if step.fits(alias, one, of)]
        if not fit:
            return left, step
        left = fit
    return left, None

"""What is wrong with ``alias`` entries, held against what is listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova.lint.alias_entry import AliasEntry
from gpu_passthrough_plugin.nova.lint.case import Case
from gpu_passthrough_plugin.nova.release import Feature

ALIASES, ALIAS_NAMES = "aliases", "alias names"

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

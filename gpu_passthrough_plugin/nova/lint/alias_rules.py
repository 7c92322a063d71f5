"""What is wrong with ``alias`` entries, whatever the host has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova.lint.configuration import Placed
from gpu_passthrough_plugin.nova.lint.host_view import (
    ALWAYS,
    Condition,
    HostView,
    Rule,
)

ALIASES, ALIAS_NAMES = "aliases", "alias names"


def unreadable(view: HostView) -> Iterator[Finding]:
    """Find entries that Nova does not start with."""
    for fault in view.alias_faults:
        yield Finding(
            ALIASES, Status.FAIL, fault.text, fault.remedy, fault.place
        )


def later_key(view: HostView) -> Iterator[Finding]:
    """Find keys that this release refuses: it does not know them yet."""
    for line in view.aliases:
        for name in line.written:
            feature = nova_alias.KEYS[name].feature
            if feature and not view.release.knows(feature):
                yield _fail(
                    line,
                    f"sets {name}, which {view.release} refuses",
                    "remove it, or upgrade Nova",
                )


def no_ids(view: HostView) -> Iterator[Finding]:
    """Find entries with neither both ids nor a class.

    Source: nova, pci/request.py (_validate_required_ids).
    """
    for line in view.aliases:
        if not line.entry.has_ids and line.entry.resource_class is None:
            yield _fail(
                line,
                "has neither both ids nor a resource_class",
                "set vendor_id and product_id",
            )


def class_for_ids(view: HostView) -> Iterator[Finding]:
    """Find entries with a class only, where Nova needs ids.

    Source: nova, pci/request.py (_validate_required_ids).
    """
    for line in view.aliases:
        if not line.entry.has_ids and line.entry.resource_class is not None:
            yield _fail(
                line,
                "has a resource_class instead of ids, while pci_in_placement"
                " is off",
                "set both ids, or [filter_scheduler] pci_in_placement = true",
            )


def no_device_type(view: HostView) -> Iterator[Finding]:
    """Find entries that leave the device type to Nova.

    Source: nova, pci/request.py (get_alias_from_config).
    """
    for line in view.aliases:
        if line.entry.device_type is None:
            yield Finding(
                ALIASES,
                Status.WARN,
                f"alias {line.entry.name!r} has no device_type",
                "set type-PCI, or the type that the card has: Nova does not"
                " start with a second entry of this name otherwise",
                line.place,
            )


class _Conflict(NamedTuple):
    """Why Nova refuses two entries of one name.

    :param text: the reason; empty where there is none.
    """

    text: Callable[[AliasEntry, AliasEntry], str]
    remedy: str
    condition: Condition = ALWAYS


def _untyped(first: AliasEntry, other: AliasEntry) -> str:
    is_typed = first.device_type and other.device_type
    return "" if is_typed else "and not both entries have a device_type"


def _different(first: AliasEntry, other: AliasEntry) -> str:
    difference = nova_alias.conflict(first, other)
    return f"with {difference}" if difference else ""


# Source: nova, pci/request.py (get_alias_from_config, _validate_multispec).
# The first that applies to two entries is reported.
_CONFLICTS = (
    _Conflict(_different, "use the same in both, or rename one"),
    _Conflict(_untyped, "set it in both, or rename one"),
    _Conflict(
        lambda first, other: "which pci_in_placement does not allow",
        "remove one of them, or rename it",
        Condition(pci_in_placement=True),
    ),
)


def same_name(view: HostView) -> Iterator[Finding]:
    """Find entries of one name that Nova does not take together."""
    firsts: dict[str, Placed[AliasEntry]] = {}
    for line in view.aliases:
        first = firsts.setdefault(line.entry.name, line)
        if first is line:
            continue
        for conflict in _CONFLICTS:
            text = conflict.text(first.entry, line.entry)
            if text and conflict.condition.holds(view):
                yield Finding(
                    ALIAS_NAMES,
                    Status.FAIL,
                    f"alias {line.entry.name!r} is defined twice, {text}",
                    conflict.remedy,
                    f"{first.place}, {line.place}",
                )
                break


RULES = (
    Rule(ALIASES, unreadable),
    Rule(ALIASES, later_key),
    Rule(ALIASES, no_ids),
    Rule(ALIASES, class_for_ids, Condition(pci_in_placement=False)),
    Rule(ALIASES, no_device_type),
    Rule(ALIAS_NAMES, same_name),
)


def _fail(line: Placed[AliasEntry], text: str, remedy: str) -> Finding:
    detail = f"alias {line.entry.name!r} {text}"
    return Finding(ALIASES, Status.FAIL, detail, remedy, line.place)

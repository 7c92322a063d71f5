"""What is wrong with ``alias`` entries, whatever the host has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gpu_passthrough_plugin.formats import nova_alias
from gpu_passthrough_plugin.formats.nova_alias import AliasEntry
from gpu_passthrough_plugin.formats.nova_release import Feature
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.lint.alias_matching import ALIAS_MATCHES
from gpu_passthrough_plugin.nova.lint.configuration import Placed
from gpu_passthrough_plugin.nova.lint.host_view import (
    Condition,
    HostView,
    Problem,
    Rule,
)

ALIASES, ALIAS_NAMES = "aliases", "alias names"

FAIL, WARN = Status.FAIL, Status.WARN
_CHECKED = Feature.ALIAS_CHECKED
_PLACED = Condition(pci_in_placement=True)
_PLACE = (
    "once every compute host has [pci] report_in_placement on, set"
    " [filter_scheduler] pci_in_placement = true"
)


def _unreadable(view: HostView) -> Iterator[Problem]:
    for fault in view.alias_faults:
        yield fault.place, (fault.text, fault.remedy)


def _later_keys(view: HostView) -> Iterator[Problem]:
    for line in view.aliases:
        for name in line.written:
            if not nova_alias.KEYS[name].is_known(view.release):
                yield line.place, (line.entry.name, name, view.release)


def _where(
    is_wrong: Callable[[AliasEntry], bool],
) -> Callable[[HostView], Iterator[Problem]]:
    def find(view: HostView) -> Iterator[Problem]:
        for line in view.aliases:
            if is_wrong(line.entry):
                yield line.place, (line.entry.name,)

    return find


def _has_no_ids(alias: AliasEntry) -> bool:
    return not alias.has_ids and alias.resource_class is None


def _has_class_only(alias: AliasEntry) -> bool:
    return not alias.has_ids and alias.resource_class is not None


def _has_no_type(alias: AliasEntry) -> bool:
    return alias.device_type is None


def _same_name(
    view: HostView,
) -> Iterator[tuple[Placed[AliasEntry], Placed[AliasEntry]]]:
    """Yield each entry with the first of its name, if that is another."""
    firsts: dict[str, Placed[AliasEntry]] = {}
    for line in view.aliases:
        first = firsts.setdefault(line.entry.name, line)
        if first is not line:
            yield first, line


def _different(view: HostView) -> Iterator[Problem]:
    for first, line in _same_name(view):
        difference = nova_alias.conflict(first.entry, line.entry)
        if difference:
            yield _both(first, line), (line.entry.name, difference)


def _untyped(view: HostView) -> Iterator[Problem]:
    for first, line in _same_name(view):
        if not _are_typed(first, line) and not _are_different(first, line):
            yield _both(first, line), (line.entry.name,)


def _ignored_keys(view: HostView) -> Iterator[Problem]:
    """Source: nova, pci/stats.py (ignored_spec_tags)."""
    for line in view.aliases:
        names = [
            name
            for name in ("resource_class", "traits")
            if line.written.get(name)
            and nova_alias.KEYS[name].is_known(view.release)
        ]
        if names and line.entry.has_ids:
            yield line.place, (line.entry.name, " and ".join(names))


def _unrequestable(view: HostView) -> Iterator[Problem]:
    """Yield aliases that no flavor can name.

    Source: nova, pci/request.py (_translate_alias_to_requests).
    """
    for line in view.aliases:
        separators = [c for c in ":," if c in line.entry.name]
        if separators:
            yield line.place, (line.entry.name, " and ".join(separators))


def _alternatives(view: HostView) -> Iterator[Problem]:
    for first, line in _same_name(view):
        if _are_typed(first, line) and not _are_different(first, line):
            yield _both(first, line), (line.entry.name,)


# Source of those of one name and of ids: nova, pci/request.py
# (get_alias_from_config, _validate_multispec, _validate_required_ids), which
# nova-api and nova-compute run when they start since 31, and
# objects/request_spec.py (generate_request_groups_from_pci_requests).
RULES = (
    Rule(ALIASES, FAIL, _unreadable, "{0}", "{1}"),
    Rule(ALIASES, FAIL, _later_keys, "alias {0!r} sets {1}, which {2} refuses",
         "remove it, or upgrade Nova"),
    Rule(ALIASES, FAIL, _where(_has_no_ids),
         "alias {0!r} has neither both ids nor a resource_class",
         "set vendor_id and product_id", Condition(knows=_CHECKED)),
    Rule(ALIASES, FAIL, _where(_has_class_only),
         "alias {0!r} has a resource_class instead of ids, while"
         " pci_in_placement is off: nova-api and nova-compute do not start",
         f"set both ids; or, {_PLACE} for every service that reads the alias,"
         " nova-compute as well",
         Condition(knows=_CHECKED, pci_in_placement=False)),
    Rule(ALIASES, WARN, _where(_has_no_ids),
         "alias {0!r} does not have both ids: functions of other cards match"
         " it as well", "set vendor_id and product_id",
         Condition(lacks=_CHECKED)),
    Rule(ALIAS_MATCHES, FAIL, _where(_has_class_only),
         "alias {0!r} has a resource_class instead of ids, while"
         " pci_in_placement is off: functions of any card match it",
         f"set both ids; or, {_PLACE}",
         Condition(lacks=_CHECKED, pci_in_placement=False)),
    Rule(ALIAS_MATCHES, FAIL, _unrequestable,
         "alias {0!r} can never be requested: flavors separate names and"
         " numbers by {1}", "rename it"),
    Rule(ALIASES, WARN, _where(_has_no_type), "alias {0!r} has no device_type",
         "set type-PCI, or the type that the card has: Nova does not start"
         " with a second entry of this name otherwise"),
    Rule(ALIASES, WARN, _ignored_keys,
         "alias {0!r}: {1} has no effect while pci_in_placement is off",
         f"remove it; or, {_PLACE}",
         Condition(pci_in_placement=False, may_be_placed=False)),
    Rule(ALIAS_NAMES, FAIL, _different,
         "alias {0!r} is defined twice, with {1}",
         "use the same in both, or rename one"),
    Rule(ALIAS_NAMES, FAIL, _untyped,
         "alias {0!r} is defined twice, and not both entries have a"
         " device_type", "set it in both, or rename one"),
    Rule(ALIAS_NAMES, FAIL, _alternatives,
         "alias {0!r} is defined twice, which pci_in_placement does not allow",
         "remove one of them, or rename it", _PLACED),
    Rule(ALIAS_NAMES, WARN, _alternatives,
         "alias {0!r} is defined twice, which is not allowed once"
         " pci_in_placement is on", "remove one of them, or rename it",
         Condition(may_be_placed=True)),
)  # fmt: skip


def _are_typed(first: Placed[AliasEntry], line: Placed[AliasEntry]) -> bool:
    return not (_has_no_type(first.entry) or _has_no_type(line.entry))


def _are_different(
    first: Placed[AliasEntry], line: Placed[AliasEntry]
) -> bool:
    return bool(nova_alias.conflict(first.entry, line.entry))


def _both(first: Placed[AliasEntry], line: Placed[AliasEntry]) -> str:
    return f"{first.place}, {line.place}"

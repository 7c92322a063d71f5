"""What a configuration does to the host's IOMMU groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpu_passthrough_plugin.formats import nova_device_spec
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import (
    IN_USE,
    NO_PRIMARY,
    SRIOV_ENABLED,
    Group,
    Role,
)
from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.control_plane import (
    GROUP_FILTER,
    NUMA_FILTER,
    PCI_FILTER,
)
from gpu_passthrough_plugin.nova.lint.device_spec_rules import REPORTING
from gpu_passthrough_plugin.nova.lint.host_view import (
    Assignable,
    HostView,
    Problem,
    Rule,
    addresses,
    grouped_by,
    places,
    shortened,
)

GROUPS, BRIDGES, HOST = "groups", "bridges", "host"

FAIL = Status.FAIL


class _ListedGroup(NamedTuple):
    """An IOMMU group, and the endpoints of it that device_spec lists."""

    group: Group
    listed: tuple[Assignable, ...]
    view: HostView

    @property
    def is_whole(self) -> bool:
        """Return whether all of several endpoints are listed."""
        return len(self.listed) == len(self.group.endpoints) > 1

    @property
    def tags(self) -> frozenset[str | None]:
        return frozenset(map(_group_tag, self.listed))

    @property
    def sizes(self) -> frozenset[str]:
        """Return the sizes that entries set; one without a size is right."""
        count = len(self.listed)
        return frozenset(
            str(entry.spec.tags.get(pools.SIZE_TAG, count))
            for entry in self.listed
        )

    @property
    def problem(self) -> Problem:
        """Return the entries' places, and the values that messages show.

        These are the group's number, the listed endpoints, all endpoints,
        the number listed, and the first primary if there is one.
        """
        endpoints = [str(member.address) for member in self.group.endpoints]
        return places(self.listed), (
            self.group.number,
            addresses(self.listed),
            shortened(endpoints),
            len(self.listed),
            *(member.address for member in self.group.primaries[:1]),
        )


def _is_companion(listing: _ListedGroup) -> bool:
    """Return whether the one listed function is a companion of a primary."""
    is_primary = listing.listed[0].device.role is Role.PRIMARY
    return (
        len(listing.listed) == 1
        and bool(listing.group.primaries)
        and not is_primary
    )


def _is_part(listing: _ListedGroup) -> bool:
    return 1 < len(listing.listed) < len(listing.group.endpoints)


def _is_untagged(listing: _ListedGroup) -> bool:
    return listing.is_whole and listing.tags == {None}


def _has_several_tags(listing: _ListedGroup) -> bool:
    return listing.is_whole and len(listing.tags) > 1


def _has_wrong_size(listing: _ListedGroup) -> bool:
    return listing.is_whole and listing.sizes != {str(len(listing.listed))}


def _is_unscheduled(listing: _ListedGroup) -> bool:
    """Return whether Placement does not allocate the group's functions.

    Where no file is the scheduler's it may, if they are reported.
    """
    view = listing.view
    return listing.is_whole and not (view.is_placed or view.may_be_placed)


def _is_unreported(listing: _ListedGroup) -> bool:
    view = listing.view
    return listing.is_whole and not view.conf.report_in_placement


def _is_unfiltered(listing: _ListedGroup) -> bool:
    """Return whether the filter is not among those of the scheduler."""
    conf = listing.view.conf
    is_there = GROUP_FILTER in conf.filters
    return listing.is_whole and conf.has_scheduler and not is_there


def _is_filtered_late(listing: _ListedGroup) -> bool:
    """Return whether a filter before this one chooses among candidates."""
    names = listing.view.conf.filters
    if not listing.is_whole or GROUP_FILTER not in names:
        return False
    before = names[: names.index(GROUP_FILTER)]
    return PCI_FILTER in before or NUMA_FILTER in before


# Why instances could get parts of one group: the first that applies.
_REASONS = (
    _is_companion,
    _is_part,
    _is_untagged,
    _has_several_tags,
    _has_wrong_size,
    _is_unreported,
    _is_unscheduled,
    _is_unfiltered,
    _is_filtered_late,
)


def _groups_where(
    reason: Callable[[_ListedGroup], bool],
) -> Callable[[HostView], Iterator[Problem]]:
    def find(view: HostView) -> Iterator[Problem]:
        for group in _listed_groups(view):
            first = next((r for r in _REASONS if r(group)), None)
            if first is reason:
                yield group.problem

    return find


def _shared_tags(view: HostView) -> Iterator[Problem]:
    """Yield tags on several groups, which the filter treats as one."""
    tagged = grouped_by(view.assignable, _group_tag)
    for tag, entries in tagged.items():
        groups = {str(entry.device.group.number) for entry in entries}
        if tag is not None and len(groups) > 1:
            yield places(entries), (tag, addresses(entries))


def _bridges(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        addresses = [
            str(device.address)
            for device in entry.taken
            if not device.role.is_assigned
        ]
        if addresses:
            yield entry.place, (shortened(addresses),)


# Of a physical function whose virtual ones are there, and used.
_ENABLED = frozenset({SRIOV_ENABLED, IN_USE})


def _not_assignable(view: HostView) -> Iterator[Problem]:
    reported = set()
    for entry in view.assignable:
        for reason in entry.device.group.verdict.reasons:
            is_meant = reason.rule in _ENABLED and _may_have_virtual(
                entry, view
            )
            if reason.rule == NO_PRIMARY or is_meant:
                continue
            if (entry.place, reason) not in reported:
                reported.add((entry.place, reason))
                address = entry.device.address
                yield entry.place, (address, reason.text, reason.remedy)


def _may_have_virtual(entry: Assignable, view: HostView) -> bool:
    """Return whether a physical function may have virtual ones enabled.

    Neutron's have to; and without Placement Nova hands out the one or the
    others, if it knows of both.
    Source: nova, pci/stats.py (_handle_device_dependents).
    """
    if nova_device_spec.NETWORK_TAG in entry.spec.tags:
        return True
    address = entry.device.address
    virtual = {d.address for d in view.devices if d.physical == address}
    listed = {other.device.address for other in view.assignable}
    is_reported = view.conf.report_in_placement
    return not is_reported and bool(virtual) and virtual <= listed


_ONE_OR_ALL = (
    "list one function of the group (a primary), or all of its endpoints with"
    " the same iommu_group tag, for full mode's scheduler filter"
)
_WHOLE = "lists all of group {0} ({2}), but"


def _split(
    reason: Callable[[_ListedGroup], bool], detail: str, remedy: str
) -> Rule:
    return Rule(GROUPS, FAIL, _groups_where(reason), detail, remedy)


RULES = (
    _split(_is_companion,
           "lists {1}, a companion of {4}: only part of group {0}",
           _ONE_OR_ALL),
    _split(_is_part, "lists {1}: only part of group {0}, which is {2}",
           _ONE_OR_ALL),
    _split(_is_untagged, f"{_WHOLE} nothing keeps them together", _ONE_OR_ALL),
    _split(_has_several_tags, f"{_WHOLE} with different iommu_group tags",
           "use the same iommu_group for all of them"),
    _split(_has_wrong_size,
           f"{_WHOLE} with an iommu_group_size other than {{3}}",
           "set iommu_group_size to {3} for all of them"),
    _split(_is_unreported,
           f"{_WHOLE} they are not reported to Placement, which the scheduler"
           " filter that keeps them together needs",
           f"list primaries only; or, with Nova 27 or later, {REPORTING}"),
    _split(_is_unscheduled,
           f"{_WHOLE} the scheduler filter that keeps them together needs"
           " [filter_scheduler] pci_in_placement",
           "turn it on (Nova 27 or later), or list primaries only"),
    _split(_is_unfiltered,
           f"{_WHOLE} enabled_filters does not contain {GROUP_FILTER}",
           f"add {GROUP_FILTER} before {PCI_FILTER}, and name Nova's default"
           " filters too if no file sets the option; where another file of"
           " nova-scheduler sets it, give that file, too"),
    _split(_is_filtered_late,
           f"{_WHOLE} {GROUP_FILTER} comes after {PCI_FILTER} or"
           f" {NUMA_FILTER} in enabled_filters",
           f"put {GROUP_FILTER} before both"),
    Rule(GROUPS, FAIL, _shared_tags,
         "the iommu_group tag {0!r} is used for functions of several groups:"
         " {1}",
         "use a different tag for each group, such as the address of its first"
         " function"),
    Rule(BRIDGES, FAIL, _bridges,
         "lists bridges, which cannot be assigned to a guest: {0}",
         "set product_id too, or an address that only endpoints have"),
    Rule(HOST, FAIL, _not_assignable, "lists {0}, but {1}",
         "remove it from device_spec; or {2}"),
)  # fmt: skip


def _listed_groups(view: HostView) -> Iterator[_ListedGroup]:
    groups = grouped_by(
        view.assignable, lambda entry: entry.device.group.number
    )
    for number, listed in groups.items():
        if number is not None:
            yield _ListedGroup(listed[0].device.group, tuple(listed), view)


def _group_tag(entry: Assignable) -> str | None:
    tag = entry.spec.tags.get(pools.GROUP_TAG)
    return None if tag is None else str(tag)

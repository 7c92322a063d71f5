"""What a configuration does to the host's IOMMU groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import (
    IN_USE,
    NO_PRIMARY,
    SRIOV_ENABLED,
    Group,
    Role,
)
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.control_plane import GROUP_FILTER, PCI_FILTER
from gpu_passthrough_plugin.nova.lint.host_view import (
    Assignable,
    HostView,
    Problem,
    Rule,
)

GROUPS, SRIOV, BRIDGES, HOST = "groups", "sriov", "bridges", "host"

K = TypeVar("K")

FAIL = Status.FAIL
_MAX_SHOWN = 8


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
        return _places(self.listed), (
            self.group.number,
            _addresses(self.listed),
            _some(endpoints),
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
    is_off = listing.view.conf.pci_in_placement is False
    return listing.is_whole and (
        is_off or not listing.view.release.has_placement
    )


def _is_unfiltered(listing: _ListedGroup) -> bool:
    """Return whether files set the filters, and this one is not in them."""
    names = listing.view.conf.filters
    return listing.is_whole and names is not None and GROUP_FILTER not in names


# Why instances could get parts of one group: the first that applies.
_REASONS = (
    _is_companion,
    _is_part,
    _is_untagged,
    _has_several_tags,
    _has_wrong_size,
    _is_unscheduled,
    _is_unfiltered,
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
    tagged = _by(view.assignable, _group_tag)
    for tag, entries in tagged.items():
        groups = {str(entry.device.group.number) for entry in entries}
        if tag is not None and len(groups) > 1:
            yield _places(entries), (tag, _addresses(entries))


def _physical_and_virtual(view: HostView) -> Iterator[Problem]:
    """Yield physical functions that are listed with their virtual ones.

    Nova does not report what Neutron requests, so such entries may list both.

    Source: nova, compute/pci_placement_translator.py (_add_dev, add_child).
    """
    reported = {
        entry.device.address: entry
        for entry in view.assignable
        if not entry.spec.is_network
    }
    children = _by(reported.values(), lambda entry: entry.device.physical)
    for parent, entries in children.items():
        if parent in reported:
            places = _places([reported[parent], *entries])
            yield places, (parent, _addresses(entries))


def _one_time_virtual(view: HostView) -> Iterator[Problem]:
    """Yield virtual functions with ``one_time_use``, whatever its value.

    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    for entry in view.assignable:
        is_virtual = entry.device.device_type is DeviceType.VF
        if is_virtual and "one_time_use" in entry.line.written:
            yield entry.place, (entry.device.address,)


def _bridges(view: HostView) -> Iterator[Problem]:
    for entry in view.listed:
        addresses = [
            str(device.address)
            for device in entry.taken
            if not device.role.is_assigned
        ]
        if addresses:
            yield entry.place, (_some(addresses),)


# Of a physical function whose virtual ones are there, and used.
_ENABLED = frozenset({SRIOV_ENABLED, IN_USE})


def _not_assignable(view: HostView) -> Iterator[Problem]:
    reported = set()
    for entry in view.assignable:
        for reason in entry.device.group.verdict.reasons:
            # Neutron's virtual functions need their physical one enabled.
            is_meant = entry.spec.is_network and reason.rule in _ENABLED
            if reason.rule == NO_PRIMARY or is_meant:
                continue
            if (entry.place, reason) not in reported:
                reported.add((entry.place, reason))
                address = entry.device.address
                yield entry.place, (address, reason.text, reason.remedy)


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
    _split(_is_unscheduled,
           f"{_WHOLE} the scheduler filter that keeps them together needs"
           " [filter_scheduler] pci_in_placement",
           "turn it on (Nova 27 or later), or list primaries only"),
    _split(_is_unfiltered,
           f"{_WHOLE} enabled_filters does not contain {GROUP_FILTER}",
           f"add {GROUP_FILTER} before {PCI_FILTER}"),
    Rule(GROUPS, FAIL, _shared_tags,
         "the iommu_group tag {0!r} is used for functions of several groups:"
         " {1}",
         "use a different tag for each group, such as the address of its first"
         " function"),
    Rule(SRIOV, FAIL, _physical_and_virtual,
         "lists {0} together with its virtual functions {1}",
         "list one or the other; the address of a physical function also"
         " matches its virtual functions, unless product_id is set too"),
    Rule(SRIOV, FAIL, _one_time_virtual,
         "one_time_use is set for {0}, which is a virtual function",
         "remove it: nova-compute cannot report this host's devices to"
         " Placement with it"),
    Rule(BRIDGES, FAIL, _bridges,
         "lists bridges, which cannot be assigned to a guest: {0}",
         "set product_id too, or an address that only endpoints have"),
    Rule(HOST, FAIL, _not_assignable, "lists {0}, but {1}",
         "remove it from device_spec; or {2}"),
)  # fmt: skip


def _listed_groups(view: HostView) -> Iterator[_ListedGroup]:
    groups = _by(view.assignable, lambda entry: entry.device.group.number)
    for number, listed in groups.items():
        if number is not None:
            yield _ListedGroup(listed[0].device.group, tuple(listed), view)


def _by(
    entries: Iterable[Assignable], key: Callable[[Assignable], K]
) -> Mapping[K, list[Assignable]]:
    grouped: dict[K, list[Assignable]] = {}
    for entry in entries:
        grouped.setdefault(key(entry), []).append(entry)
    return grouped


def _group_tag(entry: Assignable) -> str | None:
    tag = entry.spec.tags.get(pools.GROUP_TAG)
    return None if tag is None else str(tag)


def _places(entries: Sequence[Assignable]) -> str:
    return _some([*dict.fromkeys(entry.place for entry in entries)])


def _addresses(entries: Sequence[Assignable]) -> str:
    return _some([str(entry.device.address) for entry in entries])


def _some(names: Sequence[str]) -> str:
    """Return the names, or the first of them and the number of the rest."""
    rest = len(names) - _MAX_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:_MAX_SHOWN]) + more

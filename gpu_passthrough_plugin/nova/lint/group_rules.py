"""What a configuration does to the host's IOMMU groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group, Role
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova import pools
from gpu_passthrough_plugin.nova.control_plane import GROUP_FILTER, PCI_FILTER
from gpu_passthrough_plugin.nova.lint.host_view import (
    Assignable,
    HostView,
    Rule,
)

GROUPS, SRIOV, BRIDGES, HOST = "groups", "sriov", "bridges", "host"

_MAX_SHOWN = 8


class ListedGroup(NamedTuple):
    """An IOMMU group, and what is listed of its endpoints."""

    group: Group
    listed: tuple[Assignable, ...]
    view: HostView

    @property
    def is_whole(self) -> bool:
        """Whether it has several endpoints and all are listed."""
        return len(self.listed) == len(self.group.endpoints) > 1

    @property
    def tags(self) -> frozenset[str | None]:
        return frozenset(map(_group_tag, self.listed))

    @property
    def sizes(self) -> frozenset[str]:
        """The sizes that the entries name; without one it is right."""
        count = len(self.listed)
        return frozenset(
            str(entry.spec.tags.get(pools.SIZE_TAG, count))
            for entry in self.listed
        )


class _GroupReason(NamedTuple):
    """Why instances could get parts of one group."""

    applies: Callable[[ListedGroup], bool]
    detail: Callable[[ListedGroup], str]
    remedy: Callable[[ListedGroup], str]


def _is_companion(of: ListedGroup) -> bool:
    """One function stands for all, unless another is the group's primary."""
    is_primary = of.listed[0].device.role is Role.PRIMARY
    return len(of.listed) == 1 and bool(of.group.primaries) and not is_primary


def _companion(of: ListedGroup) -> str:
    device, primary = of.listed[0].device, of.group.primaries[0]
    return (
        f"lists {device.address}, a companion of {primary.address}: only"
        f" part of group {of.group.number}"
    )


def _is_part(of: ListedGroup) -> bool:
    return 1 < len(of.listed) < len(of.group.endpoints)


def _part(of: ListedGroup) -> str:
    return (
        f"lists {_addresses(of.listed)}: only part of group"
        f" {of.group.number}, which is {_endpoints(of.group)}"
    )


def _has_wrong_size(of: ListedGroup) -> bool:
    return of.is_whole and of.sizes != {str(len(of.listed))}


def _is_unscheduled(of: ListedGroup) -> bool:
    is_off = of.view.conf.pci_in_placement is False
    return of.is_whole and (is_off or not of.view.release.has_placement)


def _is_unfiltered(of: ListedGroup) -> bool:
    """The filter is off; where no file sets the filters it may be on."""
    names = of.view.conf.filters
    return of.is_whole and names is not None and GROUP_FILTER not in names


def _whole(text: Callable[[ListedGroup], str]) -> Callable[[ListedGroup], str]:
    return lambda of: (
        f"lists all of group {of.group.number} ({_endpoints(of.group)}),"
        f" {text(of)}"
    )


def _one_or_all(of: ListedGroup) -> str:
    return (
        "list one function of the group (a primary), or all of its endpoints"
        " with the same iommu_group tag, for full mode's scheduler filter"
    )


# The first that applies to a group is reported.
_GROUP_REASONS = (
    _GroupReason(_is_companion, _companion, _one_or_all),
    _GroupReason(_is_part, _part, _one_or_all),
    _GroupReason(
        lambda of: of.is_whole and of.tags == {None},
        _whole(lambda of: "but nothing keeps them together"),
        _one_or_all,
    ),
    _GroupReason(
        lambda of: of.is_whole and len(of.tags) > 1,
        _whole(lambda of: "but with different iommu_group tags"),
        lambda of: "use the same iommu_group for all of them",
    ),
    _GroupReason(
        _has_wrong_size,
        _whole(
            lambda of: (
                f"but with an iommu_group_size other than {len(of.listed)}"
            )
        ),
        lambda of: f"set iommu_group_size to {len(of.listed)} for all of them",
    ),
    _GroupReason(
        _is_unscheduled,
        _whole(
            lambda of: (
                "but the scheduler filter that keeps them together needs"
                " [filter_scheduler] pci_in_placement"
            )
        ),
        lambda of: "turn it on (Nova 27 or later), or list primaries only",
    ),
    _GroupReason(
        _is_unfiltered,
        _whole(
            lambda of: f"but enabled_filters does not contain {GROUP_FILTER}"
        ),
        lambda of: f"add {GROUP_FILTER} before {PCI_FILTER}",
    ),
)


def split_group(view: HostView) -> Iterator[Finding]:
    """Find groups that Nova could give to several instances, in parts."""
    for group in _listed_groups(view):
        for reason in _GROUP_REASONS:
            if reason.applies(group):
                yield _fail(
                    GROUPS,
                    group.listed,
                    reason.detail(group),
                    reason.remedy(group),
                )
                break


def shared_tag(view: HostView) -> Iterator[Finding]:
    """Find a tag on several groups: the filter takes them for one."""
    tagged: dict[str, list[Assignable]] = {}
    for entry in view.assignable:
        tag = _group_tag(entry)
        if tag is not None:
            tagged.setdefault(tag, []).append(entry)
    for tag, entries in tagged.items():
        if len({str(entry.device.group.number) for entry in entries}) > 1:
            yield _fail(
                GROUPS,
                entries,
                f"the iommu_group tag {tag!r} is used for functions of"
                f" several groups: {_addresses(entries)}",
                "use a different tag for each group, such as the address of"
                " its first function",
            )


def physical_and_virtual(view: HostView) -> Iterator[Finding]:
    """Find physical functions listed together with their virtual ones.

    What Neutron asks for Nova does not report, and so may be either.
    Source: nova, compute/pci_placement_translator.py (_add_dev, add_child).
    """
    by_address = {
        entry.device.address: entry
        for entry in view.assignable
        if not entry.spec.is_network
    }
    children: dict[Address, list[Assignable]] = {}
    for entry in by_address.values():
        parent = entry.device.physical
        if parent in by_address:
            children.setdefault(parent, []).append(entry)
    for parent, entries in children.items():
        yield _fail(
            SRIOV,
            [by_address[parent], *entries],
            f"lists {parent} together with its virtual functions"
            f" {_addresses(entries)}",
            "list one or the other; the address of a physical function also"
            " matches its virtual functions, unless product_id is set too",
        )


def one_time_virtual(view: HostView) -> Iterator[Finding]:
    """Find virtual functions with ``one_time_use``, whatever its value.

    Source: nova, compute/pci_placement_translator.py (add_child).
    """
    for entry in view.assignable:
        is_virtual = entry.device.device_type is DeviceType.VF
        if is_virtual and "one_time_use" in entry.line.written:
            yield _fail(
                SRIOV,
                [entry],
                f"one_time_use is set for {entry.device.address}, which is a"
                " virtual function",
                "remove it: nova-compute cannot report this host's devices to"
                " Placement with it",
            )


def bridges(view: HostView) -> Iterator[Finding]:
    """Find entries that list bridges, which no guest can have."""
    for entry in view.listed:
        lost = [
            str(device.address)
            for device in entry.taken
            if device.role is Role.BRIDGE
        ]
        if lost:
            yield Finding(
                BRIDGES,
                Status.FAIL,
                "lists bridges, which cannot be assigned to a guest:"
                f" {_some(lost)}",
                "set product_id too, or an address that only endpoints have",
                entry.line.place,
            )


def not_assignable(view: HostView) -> Iterator[Finding]:
    """Find functions of groups that cannot be handed out, and each reason."""
    reported = set()
    for entry in view.assignable:
        for reason in entry.device.group.verdict.reasons:
            # Neutron's virtual functions need their physical one enabled.
            is_meant = reason.rule == "sriov-enabled" and entry.spec.is_network
            if reason.rule == "no-primary" or is_meant:
                continue
            if (entry.line.place, reason) in reported:
                continue
            reported.add((entry.line.place, reason))
            yield _fail(
                HOST,
                [entry],
                f"lists {entry.device.address}, but {reason.text}",
                f"remove it from device_spec; or {reason.remedy}",
            )


RULES = (
    Rule(GROUPS, split_group),
    Rule(GROUPS, shared_tag),
    Rule(SRIOV, physical_and_virtual),
    Rule(SRIOV, one_time_virtual),
    Rule(BRIDGES, bridges),
    Rule(HOST, not_assignable),
)


def _listed_groups(view: HostView) -> Iterator[ListedGroup]:
    """Yield each group that something is listed of, by its number."""
    groups: dict[int, list[Assignable]] = {}
    for entry in view.assignable:
        number = entry.device.group.number
        if number is not None:
            groups.setdefault(number, []).append(entry)
    for listed in groups.values():
        yield ListedGroup(listed[0].device.group, tuple(listed), view)


def _group_tag(entry: Assignable) -> str | None:
    tag = entry.spec.tags.get(pools.GROUP_TAG)
    return None if tag is None else str(tag)


def _fail(
    check: str, entries: Sequence[Assignable], detail: str, remedy: str
) -> Finding:
    places = dict.fromkeys(entry.line.place for entry in entries)
    return Finding(check, Status.FAIL, detail, remedy, _some([*places]))


def _addresses(entries: Sequence[Assignable]) -> str:
    return _some([str(entry.device.address) for entry in entries])


def _endpoints(group: Group) -> str:
    return _some([str(member.address) for member in group.endpoints])


def _some(names: Sequence[str]) -> str:
    """Return the names; of many, some and the number of the others."""
    rest = len(names) - _MAX_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:_MAX_SHOWN]) + more

"""What a configuration does to the host's IOMMU groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpu_passthrough_plugin.formats.nova_device_spec import SIZE_TAG
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group, Role
from gpu_passthrough_plugin.model.unit import DeviceType
from gpu_passthrough_plugin.nova.lint.whitelist import Case, Pair

GROUPS, SRIOV, BRIDGES, HOST = "groups", "sriov", "bridges", "host"

_FILTER = "IommuGroupFilter"
_ONE = (
    "list one function of the group (a primary), or all of its endpoints,"
    " tagged with one iommu_group, for full mode's scheduler filter"
)


def by_group(of: Case) -> Mapping[int, list[Pair]]:
    """What is listed of each group, by the kernel's number."""
    groups: dict[int, list[Pair]] = {}
    for pair in of.pairs:
        number = pair.device.group.number
        if number is not None:
            groups.setdefault(number, []).append(pair)
    return groups


def split(of: Case) -> Iterator[Finding]:
    """Groups that Nova could give to several instances, a part to each."""
    for pairs in by_group(of).values():
        group = pairs[0].device.group
        if len(pairs) == 1:
            yield from _lone(pairs[0])
        elif len(pairs) < len(group.endpoints):
            yield _fail(
                pairs,
                f"lists {_shown(pairs)}: half of group {group.number}, which"
                f" is {_endpoints(group)}",
                _ONE,
            )
        else:
            yield from _whole(pairs, of)


def _lone(pair: Pair) -> Iterator[Finding]:
    """One function stands for all, where it is one that is asked for."""
    group, primaries = pair.device.group, pair.device.group.primaries
    if primaries and pair.device.role is not Role.PRIMARY:
        yield _fail(
            [pair],
            f"lists {pair.device.address}, a companion of"
            f" {primaries[0].address}: half of group {group.number}",
            _ONE,
        )


def _whole(pairs: Sequence[Pair], of: Case) -> Iterator[Finding]:
    """All endpoints are listed: does anything keep them together?"""
    tags = {pair.spec.group_tag for pair in pairs}
    sizes = {str(pair.spec.tags.get(SIZE_TAG, len(pairs))) for pair in pairs}
    group = pairs[0].device.group
    what = f"lists all of group {group.number} ({_endpoints(group)})"
    if tags == {None}:
        yield _fail(pairs, f"{what}, and nothing keeps them together", _ONE)
    elif len(tags) > 1:
        yield _fail(
            pairs,
            f"{what}, with different iommu_group tags",
            "give all of them the same iommu_group",
        )
    elif sizes != {str(len(pairs))}:
        yield _fail(
            pairs,
            f"{what}, with an iommu_group_size that is not {len(pairs)}",
            f"give all of them the same iommu_group_size, {len(pairs)}",
        )
    elif not of.release.has_placement or of.options.pci_in_placement is False:
        yield _fail(
            pairs,
            f"{what}, for a filter that needs [filter_scheduler]"
            " pci_in_placement",
            "turn it on (Nova 27 and later), or list primaries only",
        )
    elif not _has_filter(of):
        yield _fail(
            pairs,
            f"{what}, and enabled_filters has no {_FILTER}",
            f"add {_FILTER} before PciPassthroughFilter",
        )


def _has_filter(of: Case) -> bool:
    """Whether the filter is on, or no file says which are."""
    names = of.options.filters
    return names is None or _FILTER in names


def tags(of: Case) -> Iterator[Finding]:
    """One tag for several groups: a filter takes them for one."""
    tagged: dict[str, list[Pair]] = {}
    for pair in of.pairs:
        if pair.spec.group_tag is not None:
            tagged.setdefault(pair.spec.group_tag, []).append(pair)
    for tag, pairs in tagged.items():
        numbers = {str(pair.device.group.number) for pair in pairs}
        if len(numbers) > 1:
            yield _fail(
                pairs,
                f"the iommu_group tag {tag!r} is on functions of several"
                f" groups: {_shown(pairs)}",
                "give each group a tag of its own, such as the address of"
                " its first function",
            )


def sriov(of: Case) -> Iterator[Finding]:
    """A physical function beside its own virtual ones."""
    listed: dict[Address, Pair] = {p.device.address: p for p in of.pairs}
    children: dict[Address, list[Pair]] = {}
    for pair in of.pairs:
        parent = pair.device.physical
        if parent in listed and not pair.spec.is_network:
            children.setdefault(parent, []).append(pair)
    for parent, pairs in children.items():
        yield Finding(
            SRIOV,
            Status.FAIL,
            f"lists {parent} and its virtual functions {_shown(pairs)} as"
            " well",
            "list either; the address of a physical function matches its"
            " virtual ones too, unless its product_id stands beside it",
            _places([listed[parent], *pairs]),
        )
    for pair in of.pairs:
        is_once = "one_time_use" in pair.spec.tags
        if pair.device.kind is DeviceType.VF and is_once:
            yield _fail(
                [pair],
                f"one_time_use is on {pair.device.address}, which is a"
                " virtual function",
                "take it out: Placement is told nothing of the host else",
                SRIOV,
            )


def bridges(of: Case) -> Iterator[Finding]:
    """Bridges, which no guest can have."""
    for found in of.listed:
        lost = [d for d in found.taken if d.role is Role.BRIDGE]
        if lost:
            named = _some([str(device.address) for device in lost])
            yield Finding(
                BRIDGES,
                Status.FAIL,
                f"lists {named}, which no guest can have: bridges",
                "say product_id too, or an address that only endpoints have",
                found.spec.place,
            )


def assignable(of: Case) -> Iterator[Finding]:
    """Functions of groups that cannot be handed out, with every reason."""
    said = set()
    for pair in of.pairs:
        device = pair.device
        for reason in device.group.verdict.reasons:
            is_ours = reason.rule == "sriov-enabled" and pair.spec.is_network
            if reason.rule == "no-primary" or is_ours:
                continue
            if (pair.spec.place, reason) in said:
                continue
            said.add((pair.spec.place, reason))
            yield _fail(
                [pair],
                f"lists {device.address}, but {reason.text}",
                f"take it out of device_spec; or {reason.remedy}",
                HOST,
            )


def _fail(
    pairs: Sequence[Pair], text: str, remedy: str, check: str = GROUPS
) -> Finding:
    return Finding(check, Status.FAIL, text, remedy, _places(pairs))


def _places(pairs: Sequence[Pair]) -> str:
    return _some(list(dict.fromkeys(pair.spec.place for pair in pairs)))


def _shown(pairs: Sequence[Pair]) -> str:
    return _some([str(pair.device.address) for pair in pairs])


def _endpoints(group: Group) -> str:
    return _some([str(member.address) for member in group.endpoints])


def _some(names: Sequence[str], most: int = 8) -> str:
    """The names; of many, some and how many there are besides."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

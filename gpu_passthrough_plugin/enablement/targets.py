"""Which functions should be on vfio-pci after every boot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.selector import Selector


class Selection(NamedTuple):
    """What is to be bound, and what was selected and stays.

    :param targets: every endpoint of the groups to be assigned, by address.
    :param skipped: for each group that a selector matches and that cannot
        be assigned, all reasons as one line.
    """

    targets: tuple[Target, ...]
    skipped: tuple[str, ...]


def selection(
    groups: Sequence[Group], required: Sequence[Selector]
) -> Selection:
    """Return the endpoints of every selected group that can be assigned.

    :param groups: with the verdicts of a policy; its selectors decide which
        members are primaries.
    :param required: selectors that have to match such a group each.
    :raises Refused: when one of them does not, with the reasons against the
        groups that it matches.
    """
    selected = [group for group in groups if group.primaries]
    assignable = [g for g in selected if g.verdict.is_assignable]
    faults = [
        fault
        for selector in required
        if not any(_matches(selector, group) for group in assignable)
        for fault in _faults(groups, selector)
    ]
    if faults:
        raise errors.Refused("; ".join(faults))
    members = (member for group in assignable for member in group.endpoints)
    targets = sorted(map(target, members), key=lambda t: t.address)
    skipped = (_reasons(g) for g in selected if g not in assignable)
    return Selection(tuple(targets), tuple(skipped))


def _matches(selector: Selector, group: Group) -> bool:
    return any(selector.matches(m.function) for m in group.primaries)


def _faults(groups: Sequence[Group], selector: Selector) -> Iterator[str]:
    selected = [group for group in groups if _matches(selector, group)]
    for group in selected:
        yield f"{selector.text} cannot be assigned: {_reasons(group)}"
    if selected:
        return
    others = [
        str(member.address)
        for group in groups
        for member in group.members
        if selector.matches(member.function)
    ]
    if others:
        more = f" and {len(others) - 1} more" if others[1:] else ""
        yield (
            f"{selector.text} selects only {others[0]}{more}, which cannot be"
            " assigned by itself, such as a bridge; select a device that is"
            " not a bridge, by its address or its ids"
        )
    else:
        yield (
            f"{selector.text} selects no function of this host; see"
            " 'gpu-passthrough device list'"
        )


def _reasons(group: Group) -> str:
    """Return all reasons against a group, those of one remedy together.

    The group is named where a reason does not name the selected function.
    """
    primary = str(group.primaries[0].address)
    by_remedy: dict[str, list[str]] = {}
    for reason in group.verdict.reasons:
        by_remedy.setdefault(reason.remedy, []).append(reason.text)
    text = "; ".join(
        "; ".join((*texts, remedy)) for remedy, texts in by_remedy.items()
    )
    if all(primary in reason.text for reason in group.verdict.reasons):
        return text
    if group.number is None:
        return f"the card of {primary}: {text}"
    return f"group {group.number} ({primary}): {text}"


def target(member: Member) -> Target:
    """Return the target that a function of the host is, as it is now."""
    function, number = member.function, member.function.iommu_group
    return Target(
        address=member.address,
        vendor_id=known(function.vendor_id) or 0,
        product_id=known(function.product_id) or 0,
        class_code=known(function.class_code) or 0,
        is_primary=member.role is Role.PRIMARY,
        modules=_modules(member),
        iommu_group=number if isinstance(number, int) else None,
    )


def _modules(member: Member) -> tuple[str, ...]:
    """Return the drivers that may bind it: those that match, and its own."""
    matching: tuple[str, ...] | Unknown = ()
    if member.detail is not None:
        matching = member.detail.modules
    names = set(known(matching) or ())
    driver = member.function.driver
    if isinstance(driver, str):
        names.add(driver)
    normalised = {name.replace("-", "_") for name in names}
    return tuple(sorted(n for n in normalised if not n.startswith("vfio")))


def notes(after: Sequence[Target], before: Sequence[Target]) -> Iterator[str]:
    """Yield what is bound at boot from now on, and what is not any more.

    :param before: what the host was enabled for until now.
    """
    earlier = {target.address for target in before}
    later = {target.address for target in after}
    taken = [target for target in after if target.address not in earlier]
    dropped = [target for target in before if target.address not in later]
    if taken:
        yield (
            "newly bound to vfio-pci from the next boot on:"
            f" {_by_group(taken)}"
        )
    if dropped:
        yield (
            "no longer bound to vfio-pci from the next boot on, because it is"
            f" not selected or cannot be assigned now: {_by_group(dropped)}"
        )


def _by_group(targets: Sequence[Target]) -> str:
    groups: dict[int | None, list[str]] = {}
    for target in targets:
        groups.setdefault(target.iommu_group, []).append(str(target.address))
    return "; ".join(
        f"{', '.join(addresses)}"
        + (" (in no group yet)" if number is None else f" (group {number})")
        for number, addresses in groups.items()
    )

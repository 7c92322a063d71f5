"""Which functions are to be on vfio-pci after every boot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.enablement import Target
from gpu_passthrough_plugin.model.group import Group, Member, Role
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.selector import Selector


class Selection(NamedTuple):
    """What is taken, and what was meant and stays.

    :param targets: every endpoint of the groups that are taken, by
        address.
    :param kept: a line for each group that a selector meant and that the
        host needs.
    """

    targets: tuple[Target, ...]
    kept: tuple[str, ...]


def selection(
    groups: Sequence[Group], select: Sequence[Selector]
) -> Selection:
    """The endpoints of every group that can be handed out.

    :param groups: judged by a policy that selects by ``select``.
    :raises Refused: when one of ``select`` finds no such group: with the
        reasons of those that it finds.
    """
    meant = [g for g in groups if g.primaries]
    fit = [g for g in meant if g.verdict.is_assignable]
    faults = [
        fault
        for selector in select
        if not any(_is_meant(g, selector) for g in fit)
        for fault in _faults(meant, selector)
    ]
    if faults:
        raise errors.Refused("; ".join(faults))
    members = (member for group in fit for member in group.endpoints)
    targets = sorted(map(_target, members), key=lambda t: t.address)
    kept = [line for g in meant if g not in fit for line in _kept(g)]
    return Selection(tuple(targets), tuple(kept))


def _is_meant(group: Group, selector: Selector) -> bool:
    return any(selector.matches(m.function) for m in group.primaries)


def _faults(meant: Sequence[Group], selector: Selector) -> Iterator[str]:
    found = [g for g in meant if _is_meant(g, selector)]
    if not found:
        yield (
            f"{selector.text} selects no function of this host; see"
            " 'gpu-passthrough device list'"
        )
    for group in found:
        yield f"{selector.text} cannot be taken: {'; '.join(_kept(group))}"


def _kept(group: Group) -> Iterator[str]:
    """Each reason against a group, led to from what was selected."""
    first = group.primaries[0].address
    place = "its card" if group.number is None else f"group {group.number}"
    for reason in group.verdict.reasons:
        is_own = str(first) in reason.text
        lead = "" if is_own else f"{first} goes with all of {place}: "
        yield f"{lead}{reason.text}; {reason.remedy}"


def _target(member: Member) -> Target:
    function, group = member.function, member.function.iommu_group
    return Target(
        address=member.address,
        vendor_id=known(function.vendor_id) or 0,
        product_id=known(function.product_id) or 0,
        class_code=known(function.class_code) or 0,
        is_primary=member.role is Role.PRIMARY,
        modules=_modules(member),
        iommu_group=group if isinstance(group, int) else None,
    )


def _modules(member: Member) -> tuple[str, ...]:
    """Drivers that would take it: those that offer themselves, and has."""
    offered: tuple[str, ...] | Unknown = ()
    if member.detail is not None:
        offered = member.detail.modules
    names = set(known(offered) or ())
    driver = member.function.driver
    if isinstance(driver, str):
        names.add(driver)
    taken = {name.replace("-", "_") for name in names}
    return tuple(sorted(n for n in taken if not n.startswith("vfio")))

"""Others in the function's group, or of its kind."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes.vfio_selection import given_ids
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
)
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.reading import Unknown

# A group with members on these can be opened all the same.
# Source: kernel, drivers/vfio/vfio.c (vfio_driver_allowed).
_HARMLESS = frozenset({"pci-stub", "pcieport"})


def group_shared(case: Case) -> Cause | None:
    """A member that was not asked for keeps the group from any guest."""
    function = case.function
    if function is None or not isinstance(function.iommu_group, int):
        return None
    others = [m for m in case.fellows if _is_in_the_way(case, m)]
    if not others:
        return None
    first = others[0]
    is_other_card = any(
        m.address.card != function.address.card for m in others
    )
    fix = (
        "move the card to another slot, or turn ACS on in the firmware's"
        f" setup; or select {first.address} as well"
        if is_other_card
        else f"run 'gpu-passthrough host enable --select {first.address}'"
    )
    is_known = not isinstance(first.function.driver, Unknown)
    shown = ", ".join(f"{m.address} on {m.function.driver}" for m in others)
    return Cause(
        "group-shared",
        Confidence.CERTAIN if is_known else Confidence.POSSIBLE,
        f"group {function.iommu_group} also has {first.address}, which stays"
        " with the host: no guest can have the group",
        f"/sys/kernel/iommu_groups/{function.iommu_group}/devices: {shown}",
        fix,
    )


def identical_captured(case: Case) -> Cause | None:
    """``ids=`` also took a card of the same model that was not asked for."""
    ids = case.target.ids
    given = given_ids(case.evidence)
    where = next((g.source for g in given if g.covers(ids)), None)
    other = next((m for m in case.evidence.members if _is_twin(case, m)), None)
    if where is None or other is None:
        return None
    override = None if other.detail is None else other.detail.driver_override
    if isinstance(override, str) and case.is_vfio_driver(override):
        return None
    is_known = other.detail is not None and override is None
    return Cause(
        "identical-captured",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"{other.address} is on vfio-pci as well, and was not asked for:"
        f" ids= cannot tell two {ids} apart",
        f"{where}; {other.address} on {other.function.driver}",
        "run 'gpu-passthrough host enable --binding address', then reboot",
    )


def group_split(case: Case) -> Cause | None:
    """What was one group is more than one now."""
    now = _groups_of_fellows(case)
    if len(now) < 2:
        return None
    return Cause(
        "group-split",
        Confidence.POSSIBLE,
        f"what was group {case.target.iommu_group} is {len(now)} groups now",
        f"groups {', '.join(map(str, sorted(now)))}",
        "run 'gpu-passthrough inventory sync': each of them is a unit now",
    )


def group_renumbered(case: Case) -> Cause | None:
    """The number is another one; addresses stay what they were."""
    function, was = case.function, case.target.iommu_group
    if function is None or was is None:
        return None
    now = function.iommu_group
    if not isinstance(now, int) or now == was:
        return None
    return Cause(
        "group-renumbered",
        Confidence.POSSIBLE,
        f"group {was} has the number {now} now, as may be after each boot",
        f"/sys/bus/pci/devices/{function.address}/iommu_group: {now}",
        "mend what names the group by its number; addresses are still right",
    )


def _is_in_the_way(case: Case, member: Member) -> bool:
    driver = member.function.driver
    if case.is_target(member.address) or member.is_on_vfio is True:
        return False
    return driver is not None and driver not in _HARMLESS


def _is_twin(case: Case, member: Member) -> bool:
    function = member.function
    is_same = (function.vendor_id, function.product_id) == (
        case.target.vendor_id,
        case.target.product_id,
    )
    return (
        is_same
        and member.is_on_vfio is True
        and member.role is not Role.BRIDGE
        and not case.is_target(member.address)
    )


def _groups_of_fellows(case: Case) -> set[int]:
    was = case.target.iommu_group
    if was is None:
        return set()
    once = {t.address for t in case.targets if t.iommu_group == was}
    groups = (
        m.function.iommu_group
        for m in case.evidence.members
        if m.address in once
    )
    return {g for g in groups if isinstance(g, int)}

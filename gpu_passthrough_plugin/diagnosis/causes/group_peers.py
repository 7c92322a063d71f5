"""Do other functions matter: in the function's group, or of its model."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes.vfio_selection import (
    configured_ids,
)
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
)
from gpu_passthrough_plugin.model.group import Member, Role
from gpu_passthrough_plugin.model.reading import Unknown, shown

# A group with members on these drivers is viable.
# Source: kernel, drivers/vfio/vfio.c (vfio_driver_allowed).
_VIABLE_DRIVERS = frozenset({"pci-stub", "pcieport"})


def group_shared(case: Case) -> Cause | None:
    """Find a member on a host driver that makes the group not viable."""
    function = case.function
    if function is None or not isinstance(function.iommu_group, int):
        return None
    others = [m for m in case.peers if _blocks_group(case, m)]
    if not others:
        return None
    first = others[0]
    is_other_card = any(
        m.address.slot_address != function.address.slot_address for m in others
    )
    fix = (
        "move the card to another slot, enable ACS in the firmware setup, or"
        f" select {first.address} as well"
        if is_other_card
        else f"run '{_enable(case)}', which takes the whole group, then reboot"
    )
    is_known = not isinstance(first.function.driver, Unknown)
    drivers = ", ".join(
        f"{m.address} on {shown(m.function.driver)}" for m in others
    )
    group = function.iommu_group
    return Cause(
        "group-shared",
        Confidence.CERTAIN if is_known else Confidence.POSSIBLE,
        f"group {group} cannot be assigned: {first.address} in it is on a"
        " driver of the host"
        if is_known
        else f"group {group} may not be assignable: the driver of"
        f" {first.address} in it is unknown",
        f"/sys/kernel/iommu_groups/{group}/devices: {drivers}",
        fix,
    )


def _enable(case: Case) -> str:
    """Return the command that has the function's group bound at boot."""
    command = "gpu-passthrough host enable"
    if any(member.role is Role.PRIMARY for member in case.peers):
        return command
    return f"{command} --select {case.target.address}"


def identical_captured(case: Case) -> Cause | None:
    """Find that ``ids=`` bound an unselected card of the same model."""
    ids = case.target.ids
    id_lists = configured_ids(case.evidence)
    source = next((g.source for g in id_lists if g.covers(ids)), None)
    other = next((m for m in case.evidence.members if _is_twin(case, m)), None)
    if source is None or other is None:
        return None
    override = None if other.detail is None else other.detail.driver_override
    if isinstance(override, str) and case.is_vfio_driver(override):
        return None
    is_known = other.detail is not None and override is None
    return Cause(
        "identical-captured",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"{other.address} was not selected and is on vfio-pci: ids= cannot"
        f" distinguish two {ids}",
        f"{source}; {other.address} on {other.function.driver}",
        "run 'gpu-passthrough host enable --binding address', then reboot",
    )


def group_split(case: Case) -> Cause | None:
    """Find that the targets of one former group are in several now."""
    groups = _groups_of_former_peers(case)
    if len(groups) < 2:
        return None
    return Cause(
        "group-split",
        Confidence.POSSIBLE,
        f"former group {case.target.iommu_group} is {len(groups)} groups now",
        f"groups {', '.join(map(str, sorted(groups)))}",
        "run 'gpu-passthrough inventory sync'; each group becomes a unit",
    )


def group_renumbered(case: Case) -> Cause | None:
    """Find that the group's number changed; addresses did not."""
    function, former = case.function, case.target.iommu_group
    if function is None or former is None:
        return None
    group = function.iommu_group
    if not isinstance(group, int) or group == former:
        return None
    return Cause(
        "group-renumbered",
        Confidence.POSSIBLE,
        f"group {former} has number {group} now; numbers may change at each"
        " boot",
        f"/sys/bus/pci/devices/{function.address}/iommu_group: {group}",
        "update configuration that refers to the group number; addresses are"
        " unchanged",
    )


def _blocks_group(case: Case, member: Member) -> bool:
    driver = member.function.driver
    if case.is_target(member.address) or member.is_on_vfio is True:
        return False
    return driver is not None and driver not in _VIABLE_DRIVERS


def _is_twin(case: Case, member: Member) -> bool:
    function = member.function
    is_same = (function.vendor_id, function.product_id) == (
        case.target.vendor_id,
        case.target.product_id,
    )
    return (
        is_same
        and member.is_on_vfio is True
        and member.role.is_assigned
        and not case.is_target(member.address)
    )


def _groups_of_former_peers(case: Case) -> set[int]:
    former = case.target.iommu_group
    if former is None:
        return set()
    addresses = {t.address for t in case.targets if t.iommu_group == former}
    groups = (
        m.function.iommu_group
        for m in case.evidence.members
        if m.address in addresses
    )
    return {g for g in groups if isinstance(g, int)}

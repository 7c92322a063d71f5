"""Whether a group can be passed through: every reason, or else notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.isolation import acs
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.isolation.rules import RULES, GroupCase, make_case
from gpu_passthrough_plugin.model.fabric import addresses, is_member
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import (
    NO_IOMMU,
    VFIO_NO_IOMMU,
    Group,
    Member,
    Role,
    Verdict,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown, shown
from gpu_passthrough_plugin.model.reset_family import family


def judge(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the group with its verdict: every reason, or else notes."""
    case = make_case(part, facts, policy)
    reasons = tuple(reason for rule in RULES for reason in rule(case))
    notes = () if reasons else tuple(_notes(case))
    is_isolated = acs.doubt(part, facts) is None
    return Group(
        part.number, part.members, Verdict(reasons, notes, is_isolated)
    )


def _notes(case: GroupCase) -> Iterator[str]:
    yield from acs.notes(case.part, case.facts)
    fabric = case.part.fabric
    primaries = [m for m in case.endpoints if m.role is Role.PRIMARY]
    if fabric is not None and any(is_member(m.function) for m in primaries):
        yield (
            "its GPU is on an NVLink fabric (NVSwitches"
            f" {addresses(fabric.switches)}): two or more GPUs of one guest"
            " need an active partition of Fabric Manager ('fmpm -l'), or all"
            " GPUs and all NVSwitches; otherwise CUDA may end with error 802"
        )
    if len(primaries) > 1:
        yield (
            f"{len(primaries)} primaries share the group and are assigned"
            " together, as one unit"
        )
    for function in case.part.reset_with:
        yield (
            f"resetting {_listed(primaries)} resets {function.address} (group"
            f" {shown(function.iommu_group)}) as well, as it has no reset of"
            f" its own; {_stays(function)}: give both to one guest, or none"
        )
    for function in case.part.card_elsewhere:
        if function not in case.part.reset_with:
            yield (
                f"{function.address} is on the same card and in group"
                f" {shown(function.iommu_group)}: it is a unit of its own"
                " where it is selected, and stays with the host otherwise"
            )
    for member in primaries:
        function = member.function
        row = family(function.vendor_id, function.product_id)
        if row is not None:
            yield (
                f"{member.address} is of a family with a known reset fault"
                f" ({row.name}): {row.behaviour}; {row.remedy}"
            )
        if isinstance(member.function.numa_node, Unknown):
            yield (
                f"the NUMA node of {member.address} is unknown:"
                f" {member.function.numa_node}"
            )


def _listed(members: Sequence[Member]) -> str:
    return ", ".join(str(member.address) for member in members)


def _stays(function: Function) -> str:
    driver = function.driver
    if isinstance(driver, Unknown):
        return f"its driver is unknown ({driver})"
    return f"it is on {driver or 'no driver'}"


_WITHOUT_IOMMU = frozenset({NO_IOMMU, VFIO_NO_IOMMU})


def judge_predicted(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the verdict on a group that the host will have.

    Without the reasons that an active IOMMU removes.
    """
    group = judge(part, facts, policy)
    reasons = tuple(
        reason
        for reason in group.verdict.reasons
        if reason.rule not in _WITHOUT_IOMMU
    )
    return group._replace(verdict=group.verdict._replace(reasons=reasons))

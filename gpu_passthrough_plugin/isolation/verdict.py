"""Whether a group can be passed through: all reasons against it."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.isolation.rules import RULES, Case, make_case
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.group import Group, Role, Verdict
from gpu_passthrough_plugin.model.reading import Unknown


def judge(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the group with its verdict: every reason, or else notes."""
    case = make_case(part, facts, policy)
    reasons = tuple(reason for rule in RULES for reason in rule(case))
    notes = () if reasons else tuple(_notes(case))
    return Group(part.number, part.members, Verdict(reasons, notes))


def _notes(case: Case) -> Iterator[str]:
    primaries = [m for m in case.endpoints if m.role is Role.PRIMARY]
    if len(primaries) > 1:
        yield (
            f"{len(primaries)} primaries share the group and are assigned"
            " together, as one unit"
        )
    for member in primaries:
        if isinstance(member.function.numa_node, Unknown):
            yield (
                f"the NUMA node of {member.address} is unknown:"
                f" {member.function.numa_node}"
            )


def judge_predicted(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """Return the verdict on a group that the host will have.

    Without the reasons that an active IOMMU removes.
    """
    group = judge(part, facts, policy)
    reasons = tuple(
        reason for reason in group.verdict.reasons if reason.rule != iommu.RULE
    )
    return group._replace(verdict=Verdict(reasons, group.verdict.notes))

"""The verdict on each part."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.isolation.rules import RULES, Case, case
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.group import Group, Role, Verdict
from gpu_passthrough_plugin.model.reading import Unknown


def group(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """The part with its verdict: every reason, and notes where it is fit."""
    looked_at = case(part, facts, policy)
    reasons = tuple(reason for rule in RULES for reason in rule(looked_at))
    notes = () if reasons else tuple(_notes(looked_at))
    return Group(part.number, part.members, Verdict(reasons, notes))


def _notes(of: Case) -> Iterator[str]:
    primaries = [m for m in of.endpoints if m.role is Role.PRIMARY]
    if len(primaries) > 1:
        yield (
            f"{len(primaries)} primaries share the group and are handed out"
            " together, as one unit"
        )
    for member in primaries:
        if isinstance(member.function.numa_node, Unknown):
            yield (
                f"the NUMA node of {member.address} is unknown:"
                f" {member.function.numa_node}"
            )


def predicted_group(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """The part with its verdict, but for what an IOMMU will cure."""
    judged = group(part, facts, policy)
    reasons = tuple(
        reason
        for reason in judged.verdict.reasons
        if reason.rule != iommu.RULE
    )
    return judged._replace(verdict=Verdict(reasons, judged.verdict.notes))

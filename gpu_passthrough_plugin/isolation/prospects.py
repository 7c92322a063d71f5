"""The groups that a host will have, as far as it can tell beforehand.

Without an IOMMU there are none.  The functions of one card are taken for
one then: a card in a slot of its own is a group, or a part of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_passthrough_plugin.isolation import iommu, judge
from gpu_passthrough_plugin.isolation.partition import Part, Policy
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.group import Group, Member, Verdict


def parts(found: Sequence[Part]) -> tuple[Part, ...]:
    """The kernel's parts, and those that are in none by card."""
    cards: dict[tuple[int, int, int], list[Member]] = {}
    for part in found:
        if part.number is None:
            card = part.members[0].address.card
            cards.setdefault(card, []).extend(part.members)
    numbered = (part for part in found if part.number is not None)
    return (*numbered, *(Part(None, tuple(c)) for c in cards.values()))


def group(part: Part, facts: HostFacts, policy: Policy) -> Group:
    """The part with its verdict, but for what an IOMMU will cure."""
    judged = judge.group(part, facts, policy)
    reasons = tuple(
        reason
        for reason in judged.verdict.reasons
        if reason.rule != iommu.RULE
    )
    return judged._replace(verdict=Verdict(reasons, judged.verdict.notes))

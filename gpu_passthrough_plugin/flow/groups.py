"""Discover, then isolate: a host's groups."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.group import Group


def groups(
    tree: Tree, policy: Policy, *, with_primary_only: bool = False
) -> tuple[Group, ...]:
    """The host's groups with their verdicts, by number.

    Only members of groups that hold a primary are read whole: reading
    config space costs up to a millisecond a function.
    """
    facts = host_facts.facts(tree)
    return tuple(
        verdict.group(_read_whole(tree, part), facts, policy)
        for part in partition.parts(discovery.functions(tree), policy)
        if part.has_primary or not with_primary_only
    )


def _read_whole(tree: Tree, part: partition.Part) -> partition.Part:
    if not part.has_primary:
        return part
    details = {
        member.address: discovery.detail(tree, member.function)
        for member in part.members
    }
    return partition.detailed(part, details)

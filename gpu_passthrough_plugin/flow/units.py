"""Discover, isolate, and name what the host can hand out."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import groups
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.isolation.units import unit
from gpu_passthrough_plugin.model.unit import Unit


def units(tree: Tree, policy: Policy, host: str) -> tuple[Unit, ...]:
    """The units that the host's assignable groups make, read now."""
    facts = host_facts.facts(tree)
    return tuple(
        unit(host, group, facts, policy.traits)
        for group in groups.groups(tree, policy, with_primary_only=True)
        if group.verdict.is_assignable
    )

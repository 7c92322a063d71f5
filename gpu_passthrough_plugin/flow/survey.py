"""One host whole, as enabling and verifying look at it."""

from __future__ import annotations

import dataclasses

from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.discovery.installation import installation
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.group import Group, Member
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import Unknown


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What a host shows.

    :param groups: the kernel's, with what is in none put together by
        card; every member is read whole.
    :param boot_id: of the running boot.
    """

    facts: HostFacts
    groups: tuple[Group, ...]
    installation: Installation
    boot_id: str | Unknown

    @property
    def members(self) -> tuple[Member, ...]:
        """Every function, by address."""
        members = (m for group in self.groups for m in group.members)
        return tuple(sorted(members, key=lambda m: m.address))


def survey(tree: Tree, policy: Policy) -> Survey:
    """The host, read now."""
    facts = host_facts.facts(tree)
    functions = discovery.functions(tree)
    details = {f.address: discovery.detail(tree, f) for f in functions}
    parts = partition.predicted_parts(partition.parts(functions, policy))
    whole = (partition.detailed(part, details) for part in parts)
    return Survey(
        facts,
        tuple(verdict.predicted_group(part, facts, policy) for part in whole),
        installation(tree),
        host_facts.boot_id(tree),
    )

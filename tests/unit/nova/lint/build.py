"""A described host's groups, and configurations held against them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery import functions as discovery
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.nova.lint import check, configuration
from tests.trees.host import Host

GPUS = Policy((selector.parse("class=03"),))
REPORT = "[pci]\nreport_in_placement = True\n"
SCHEDULER = (
    "[filter_scheduler]\npci_in_placement = True\n"
    "available_filters = nova.scheduler.filters.all_filters\n"
    "available_filters ="
    " gpu_passthrough_plugin.nova.filters.IommuGroupFilter\n"
    "enabled_filters = IommuGroupFilter,PciPassthroughFilter\n"
)
FILTER = f"{REPORT}{SCHEDULER}"
GPU = {"name": "gpu", "vendor_id": "10de", "product_id": "1e87",
       "device_type": "type-PCI"}  # fmt: skip
FLEX = {"name": "flex", "vendor_id": "8086", "product_id": "56c0",
        "device_type": "type-PF"}  # fmt: skip


def without(entry: Mapping[str, str], key: str) -> dict[str, str]:
    return {k: v for k, v in entry.items() if k != key}


def groups(host: Host, policy: Policy = GPUS) -> tuple[Group, ...]:
    """All groups, with the details of every member."""
    tree = host.tree()
    facts = host_facts.facts(tree)
    return tuple(
        verdict.judge(
            partition.detailed(
                part,
                {
                    m.address: discovery.detail(tree, m.function)
                    for m in part.members
                },
            ),
            facts,
            policy,
        )
        for part in partition.parts(discovery.functions(tree), policy)
    )


def pci(specs: Iterable[object] = (), aliases: Iterable[object] = ()) -> str:
    """A ``[pci]`` section; its first value is on line 2."""
    return "\n".join(
        [
            "[pci]",
            *(f"device_spec = {json.dumps(spec)}" for spec in specs),
            *(f"alias = {json.dumps(alias)}" for alias in aliases),
            "",
        ]
    )


def findings(
    host: Host, text: str, release: Release = NEWEST
) -> tuple[Finding, ...]:
    """What is said of a file ``nova.conf``."""
    conf = configuration.read([("nova.conf", text.encode())])
    return check.findings(conf, groups(host), release)


def faults(host: Host, text: str, release: Release = NEWEST) -> list[Finding]:
    """Each finding that is not fine, but for what stays unknown by others."""
    return [
        f
        for f in findings(host, text, release)
        if f.status is not Status.PASS and not is_left_open(f)
    ]


def is_left_open(finding: Finding) -> bool:
    """Whether an entry that cannot be read leaves its check open."""
    return finding.detail.startswith("unknown: not every ")


def fault(host: Host, text: str, release: Release = NEWEST) -> Finding:
    """The only finding that is not fine."""
    (found,) = faults(host, text, release)
    return found


def kinds(
    host: Host, text: str, release: Release = NEWEST
) -> list[tuple[str, Status]]:
    """Check and status of each finding that is not fine."""
    return [(f.check, f.status) for f in faults(host, text, release)]

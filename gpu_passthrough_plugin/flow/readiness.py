"""``host check``: the host's own state, then what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import readiness
from gpu_passthrough_plugin.discovery import facts as host_facts
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import groups
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

# What a door says when it opens; it raises ``errors.Error`` when not.
Door = Callable[[], AbstractContextManager[object]]


def findings(
    tree: Tree, policy: Policy, doors: dict[str, Door]
) -> Iterator[Finding]:
    """Everything that ``host check`` looks at, in order.

    :param doors: what the host depends on, by name; each is opened once.
    """
    found = groups.groups(tree, policy)
    facts = host_facts.facts(tree)
    yield from readiness.findings(facts, found)
    yield _vfio(tree, facts)
    for name, door in doors.items():
        yield _opened(name, door)


def _vfio(tree: Tree, facts: HostFacts) -> Finding:
    loaded = tree.names("sys/bus/pci/drivers/vfio-pci")
    release = facts.kernel_release
    modules: bytes | Unknown = MISSING
    if not isinstance(release, Unknown):
        modules = tree.read(f"lib/modules/{release}/modules.dep")
    return readiness.vfio(not isinstance(loaded, Unknown), modules)


def _opened(name: str, door: Door) -> Finding:
    try:
        with door():
            return Finding(name, Status.PASS, "answers")
    except errors.Error as error:
        return Finding(
            name, Status.FAIL, str(error), "see the end of the detail"
        )

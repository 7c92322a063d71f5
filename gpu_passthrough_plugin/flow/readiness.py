"""``host check``: the host's own state, then what it depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import readiness
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.flow import host_snapshot, verification
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot
from gpu_passthrough_plugin.flow.verification import Known
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.reading import Unknown


@dataclasses.dataclass(frozen=True, slots=True)
class Dependency:
    """A service that the host depends on.

    :param check: returns where the service is, such as its URL; raises
        ``errors.Error`` when it cannot be used.
    :param remedy: what helps then.
    """

    name: str
    check: Callable[[], str]
    remedy: str


def findings(
    tree: Tree,
    policy: Policy,
    dependencies: Sequence[Dependency],
    known: Callable[[], Known],
) -> Iterator[Finding]:
    """Everything that ``host check`` looks at, in order.

    :param dependencies: what the host depends on; each is checked once.
    :param known: of a host that may wait for a reboot; may raise.
    """
    snapshot = host_snapshot.read(tree, policy)
    yield from readiness.findings(snapshot.facts, snapshot.groups())
    yield _vfio(tree, snapshot.facts)
    yield from _reboot(tree, snapshot, known)
    for dependency in dependencies:
        yield _checked(dependency)


def _vfio(tree: Tree, facts: HostFacts) -> Finding:
    loaded = tree.names("sys/bus/pci/drivers/vfio-pci")
    is_there = modules.has(tree, facts.kernel_release, "vfio_pci")
    return readiness.vfio(not isinstance(loaded, Unknown), is_there)


def _reboot(
    tree: Tree, snapshot: HostSnapshot, known: Callable[[], Known]
) -> Iterator[Finding]:
    """Nothing of a host that was never enabled."""
    try:
        found = known()
    except errors.Error as error:
        yield Finding(
            "reboot",
            Status.WARN,
            f"whether a reboot is needed is unknown: {error}",
            "run this as root on the host itself",
        )
        return
    if found.enablement:
        yield verification.rebooted(tree, snapshot, found)


def _checked(dependency: Dependency) -> Finding:
    name = dependency.name
    try:
        return Finding(name, Status.PASS, f"OK: {dependency.check()}")
    except errors.Error as error:
        return Finding(name, Status.FAIL, str(error), dependency.remedy)

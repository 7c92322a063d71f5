"""``host check`` and ``host verify``: what is wrong with a host, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import readiness, reboot, verify
from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import load, targets
from gpu_passthrough_plugin.enablement.driver import (
    ConfiguredArguments,
    InitramfsContent,
)
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.boot_state import BootState
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot, Scope
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.change import NEW_PATH
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

Names = tuple[str, ...] | Unknown
Images = Mapping[str, Names]


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What is known of a host besides its files.

    :param log: lines of the kernel's log.
    :param enablement: what ``host enable`` last brought about.
    :param images: names in the running kernel's initramfs by its release;
        asked only where something is not as it should be, as it takes
        seconds.
    """

    log: tuple[str, ...] | Unknown
    enablement: Enablement | None
    images: Callable[[Installation, str], Names]


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
        yield rebooted(tree, snapshot, found)


def _checked(dependency: Dependency) -> Finding:
    name = dependency.name
    try:
        return Finding(name, Status.PASS, f"OK: {dependency.check()}")
    except errors.Error as error:
        return Finding(name, Status.FAIL, str(error), dependency.remedy)


def verified(tree: Tree, policy: Policy, known: Known) -> tuple[Verified, ...]:
    """A finding for each function that should be on vfio-pci.

    :raises Refused: when that is none.
    """
    snapshot = host_snapshot.read(tree, policy, Scope.ALL)
    boot = boot_state.read(tree, snapshot.facts)
    evidence = _evidence(snapshot, boot, known)
    chosen = targets.selection(evidence.groups, ()).targets
    wanted = verify.expected(evidence, chosen)
    if not wanted:
        raise errors.Refused(
            "nothing is selected that could be on vfio-pci; see"
            " 'gpu-passthrough group list'"
        )
    findings = verify.findings(evidence, wanted)
    if all(row.status is Status.PASS for row in findings):
        return findings
    images = looked_into(evidence, known)
    return verify.findings(evidence._replace(images=images), wanted)


def rebooted(tree: Tree, snapshot: HostSnapshot, known: Known) -> Finding:
    """Whether what was enabled waits for a reboot."""
    whole = host_snapshot.completed(tree, snapshot)
    boot = boot_state.read(tree, snapshot.facts)
    return reboot.finding(_evidence(whole, boot, known))


def looked_into(evidence: Evidence, known: Known) -> Images:
    """What the running kernel's initramfs holds, by its release."""
    release = evidence.facts.kernel_release
    if isinstance(release, Unknown):
        return {}
    return {release: known.images(evidence.installation, release)}


def listed(
    commands: Commands, installation: Installation, release: str
) -> Names:
    """The names in a kernel's initramfs, by this host's own command."""
    kernel = next(
        (k for k in installation.kernels if k.release == release), None
    )
    try:
        driver, _ = load.initramfs(installation)
        build = kernel and driver.build(
            installation, kernel, InitramfsContent()
        )
        if not build:
            return MISSING
        argv = [
            word.replace(NEW_PATH, build.image) for word in build.list_argv
        ]
        said = commands.output(argv, f"list {build.image}")
    except errors.Error as error:
        return Unknown(Why.UNREADABLE, str(error))
    # Where it is listed as ``ls -l`` does, the name comes last.
    return tuple(line.split()[-1] for line in said.split("\n") if line.strip())


def _evidence(
    snapshot: HostSnapshot, boot: BootState, known: Known
) -> Evidence:
    configured = _configured(boot.installation, known.enablement)
    vfio_drivers = boot.vfio_drivers
    return Evidence(
        facts=snapshot.facts,
        members=snapshot.members(),
        groups=snapshot.predicted_groups(),
        installation=boot.installation,
        log=known.log,
        configured=configured.sources,
        entries=configured.entries,
        images={},
        enablement=known.enablement,
        boot_id=boot.boot_id,
        vfio_drivers=frozenset()
        if isinstance(vfio_drivers, Unknown)
        else vfio_drivers,
        has_vfio=boot.has_vfio_pci,
    )


def _configured(
    installation: Installation, enablement: Enablement | None
) -> ConfiguredArguments:
    """Nothing where how the host boots is not known."""
    name = enablement.drivers.get("bootloader") if enablement else None
    try:
        loader, _ = load.bootloader(installation, name)
        return loader.configured(installation)
    except errors.Error:
        return ConfiguredArguments({}, {})

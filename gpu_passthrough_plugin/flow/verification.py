"""``host verify``: is each function where it should be, and if not, why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import reboot, verify
from gpu_passthrough_plugin.diagnosis.evidence import Evidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
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

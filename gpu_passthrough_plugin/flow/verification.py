"""``host check`` and ``host verify``: what is wrong with a host, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis import (
    guest_log,
    readiness,
    reboot,
    verify,
)
from gpu_passthrough_plugin.diagnosis.evidence import Cause, Evidence
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.discovery import modules
from gpu_passthrough_plugin.discovery.tree import Tree
from gpu_passthrough_plugin.enablement import load, targets
from gpu_passthrough_plugin.enablement.driver import (
    ConfiguredArguments,
    InitramfsContent,
)
from gpu_passthrough_plugin.enablement.targets import Selection
from gpu_passthrough_plugin.flow import boot_state, host_snapshot
from gpu_passthrough_plugin.flow.boot_state import BootState
from gpu_passthrough_plugin.flow.dependency import Dependency
from gpu_passthrough_plugin.flow.host_snapshot import HostSnapshot, Scope
from gpu_passthrough_plugin.formats import vfio_pci_ids
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model.change import NEW_PATH
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why, known

Names = tuple[str, ...] | Unknown
Images = Mapping[str, Names]


@dataclasses.dataclass(frozen=True, slots=True)
class BootEvidence:
    """What explains how a host booted, besides its files.

    :param log: lines of the kernel's log.
    :param enablement: what ``host enable`` last did; None if it never ran.
    :param images: returns the file names in the initramfs of a kernel
        release.  It takes seconds, and is called only when a function is not
        on the expected driver.
    """

    log: tuple[str, ...] | Unknown
    enablement: Enablement | None
    images: Callable[[Installation, str], Names]


def check_host(
    tree: Tree,
    policy: Policy,
    dependencies: Sequence[Dependency],
    boot_evidence: Callable[[], BootEvidence],
) -> Iterator[Finding]:
    """Yield a finding for each of the checks of ``host check``.

    :param dependencies: what the host depends on; each is checked once.
    :param boot_evidence: returns the evidence that tells whether the host has
        to be rebooted; may raise.
    """
    snapshot = host_snapshot.read(tree, policy)
    groups = snapshot.groups()
    yield from readiness.findings(snapshot.facts, groups)
    yield _check_vfio(tree, snapshot.facts, groups)
    yield from _check_reboot(tree, snapshot, boot_evidence)
    for dependency in dependencies:
        yield _check_dependency(dependency)


def _check_vfio(
    tree: Tree, facts: HostFacts, groups: Sequence[Group]
) -> Finding:
    loaded = tree.names("sys/bus/pci/drivers/vfio-pci")
    is_available = modules.has(tree, facts.kernel_release, "vfio_pci")
    return readiness.vfio(
        not isinstance(loaded, Unknown), is_available, groups
    )


def _check_reboot(
    tree: Tree,
    snapshot: HostSnapshot,
    boot_evidence: Callable[[], BootEvidence],
) -> Iterator[Finding]:
    """Yield whether a reboot is needed, if the host was ever enabled."""
    try:
        evidence = boot_evidence()
    except errors.Error as error:
        yield Finding(
            "reboot",
            Status.WARN,
            f"whether a reboot is needed is unknown: {error}",
            "run this as root on the host itself",
        )
        return
    if evidence.enablement:
        whole = host_snapshot.completed(tree, snapshot)
        boot = boot_state.read(tree, snapshot.facts)
        yield reboot.finding(_evidence(whole, boot, evidence))


def _check_dependency(dependency: Dependency) -> Finding:
    name = dependency.name
    try:
        return Finding(name, Status.PASS, f"OK: {dependency.check()}")
    except errors.Error as error:
        return Finding(name, Status.FAIL, str(error), dependency.remedy)


def verify_host(
    tree: Tree, policy: Policy, boot_evidence: BootEvidence
) -> tuple[Verified, ...]:
    """Return a finding for each function that should be on vfio-pci.

    :raises Refused: when no selected function can be on vfio-pci.
    """
    snapshot, evidence = _read(tree, policy, boot_evidence)
    return _verified(snapshot, evidence, boot_evidence)


def _read(
    tree: Tree, policy: Policy, boot_evidence: BootEvidence
) -> tuple[HostSnapshot, Evidence]:
    snapshot = host_snapshot.read(tree, policy, Scope.ALL)
    boot = boot_state.read(tree, snapshot.facts)
    return snapshot, _evidence(snapshot, boot, boot_evidence)


def _verified(
    snapshot: HostSnapshot, evidence: Evidence, boot_evidence: BootEvidence
) -> tuple[Verified, ...]:
    """Return a finding for each expected function; raise if there is none."""
    selection = targets.selection(evidence.groups, ())
    chosen = {t.address: t for t in selection.targets}
    for member in verify.intended(evidence):
        chosen.setdefault(member.address, targets.target(member))
    expected = verify.expected(evidence, tuple(chosen.values()))
    if not expected:
        raise errors.Refused(_nothing_expected(snapshot, selection))
    findings = verify.findings(evidence, expected)
    if all(row.status is Status.PASS for row in findings):
        return findings
    images = _read_images(evidence, boot_evidence)
    return verify.findings(evidence._replace(images=images), expected)


class Verification(NamedTuple):
    """A host's functions, and what explains a guest's log.

    :param guest: None where no log was given.
    :param refusal: why no function is expected on vfio-pci; None if one is.
    """

    findings: tuple[Verified, ...]
    guest: tuple[Cause, ...] | None = None
    refusal: str | None = None


def verify_with_guest(
    tree: Tree,
    policy: Policy,
    boot_evidence: BootEvidence,
    messages: Sequence[str] | None,
) -> Verification:
    """Return the findings on a host, and the causes of a guest's messages.

    :param messages: of the guest's kernel, of QEMU or of Windows, oldest
        first; None for none.
    :raises Refused: when no selected function can be on vfio-pci and there
        is no guest's log.
    """
    if messages is None:
        return Verification(verify_host(tree, policy, boot_evidence))
    snapshot, evidence = _read(tree, policy, boot_evidence)
    causes = guest_log.causes(messages, evidence)
    try:
        findings = _verified(snapshot, evidence, boot_evidence)
    except errors.Refused as error:
        return Verification((), causes, str(error))
    return Verification(findings, causes)


def _nothing_expected(snapshot: HostSnapshot, selection: Selection) -> str:
    """Return why no function is expected on vfio-pci, all that is known."""
    words = known(snapshot.facts.kernel_arguments) or ()
    groups = snapshot.groups()
    absence = readiness.absence(groups)
    has_groups = any(group.number is not None for group in groups)
    no_groups = (
        [f"functions of this host: {absence.text}; {absence.remedy}"]
        if absence and not has_groups
        else []
    )
    ignored = [
        f"{word} on the kernel command line has no effect: vfio-pci reads"
        f" {vfio_pci_ids.CMDLINE_NAME}="
        for word in vfio_pci_ids.misspelt(words)
    ]
    reasons = selection.skipped or (
        "none is selected, on a VFIO driver, or named by ids= of vfio-pci",
    )
    return (
        f"no function can be on vfio-pci: "
        f"{'; '.join((*no_groups, *reasons, *ignored))};"
        " see 'gpu-passthrough group list'"
    )


def _read_images(evidence: Evidence, boot_evidence: BootEvidence) -> Images:
    """Return the names in the running kernel's initramfs, by its release."""
    release = evidence.facts.kernel_release
    if isinstance(release, Unknown):
        return {}
    return {release: boot_evidence.images(evidence.installation, release)}


def list_image(
    commands: Commands, installation: Installation, release: str
) -> Names:
    """Return the names in a kernel's initramfs, by this host's own command."""
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
        output = commands.output(argv, f"list {build.image}")
    except errors.Error as error:
        return Unknown(Why.UNREADABLE, str(error))
    # Some commands list as ``ls -l`` does: the name comes last.
    return tuple(
        line.split()[-1] for line in output.split("\n") if line.strip()
    )


def _evidence(
    snapshot: HostSnapshot, boot: BootState, boot_evidence: BootEvidence
) -> Evidence:
    configured = _configured(boot.installation, boot_evidence.enablement)
    vfio_drivers = boot.vfio_drivers
    return Evidence(
        facts=snapshot.facts,
        members=snapshot.members(),
        groups=snapshot.predicted_groups(),
        installation=boot.installation,
        log=boot_evidence.log,
        configured=configured.sources,
        entries=configured.entries,
        images={},
        enablement=boot_evidence.enablement,
        boot_id=boot.boot_id,
        vfio_drivers=frozenset()
        if isinstance(vfio_drivers, Unknown)
        else vfio_drivers,
        has_vfio=boot.has_vfio_pci,
        reasons={
            member.address: group.verdict.reasons
            for group in snapshot.groups()
            for member in group.members
        },
    )


def _configured(
    installation: Installation, enablement: Enablement | None
) -> ConfiguredArguments:
    """Return the configured arguments; none if no boot loader is found."""
    name = enablement.drivers.get("bootloader") if enablement else None
    try:
        loader, _ = load.bootloader(installation, name)
        return loader.configured(installation)
    except errors.Error:
        return ConfiguredArguments({}, {})

"""The module vfio-pci: missing, kept away, or told nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.diagnosis.vfio_ids import is_builtin_vfio, told_ids
from gpu_passthrough_plugin.formats import modprobe, vfio_pci_ids
from gpu_passthrough_plugin.model.reading import known

# Kept by editors and package managers, and meant for nobody.
_LEFTOVERS = ("~", ".bak", ".dpkg-old", ".orig", ".rpmsave", ".swp")


def vfio_missing(case: Case) -> Cause | None:
    """The running kernel has no vfio-pci."""
    evidence = case.evidence
    line = log.first(
        evidence,
        r"failed to find module 'vfio[-_]pci'",
        r"module vfio[-_]pci not found",
        r"gpu-passthrough: vfio-pci cannot be loaded",
    )
    is_known = evidence.has_vfio is False
    if is_builtin_vfio(evidence) or evidence.has_vfio is True:
        return None
    if line is None and not is_known:
        return None
    release = evidence.facts.kernel_release
    return Cause(
        "vfio-missing",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"the running kernel {release} has no vfio-pci",
        line or f"/lib/modules/{release}/modules.dep has no vfio-pci.ko",
        "install the kernel's extra modules (linux-modules-extra,"
        " kernel-modules), or a kernel with CONFIG_VFIO_PCI",
    )


def vfio_blacklisted(case: Case) -> Cause | None:
    """Something keeps vfio-pci from being loaded."""
    found = next(_kept_away(case.evidence), None)
    if found is None or is_builtin_vfio(case.evidence):
        return None
    sure, shown = found
    return Cause(
        "vfio-blacklisted",
        sure,
        "vfio-pci is kept from being loaded",
        shown,
        "take that away, rebuild the initramfs and reboot",
    )


def modprobe_unread(case: Case) -> Cause | None:
    """Configuration for vfio-pci that modprobe passes over."""
    evidence = case.evidence
    bad = next(_bad_lines(evidence), None) or log.first(
        evidence,
        r"vfio[-_]pci: unknown parameter",
        r"ignoring bad line starting with .*vfio",
    )
    names = [] if any(_options(evidence)) else [*_passed_over(evidence)]
    if not bad and not names:
        return None
    return Cause(
        "modprobe-unread",
        Confidence.CERTAIN if bad else Confidence.POSSIBLE,
        "modprobe passes over what is configured for vfio-pci",
        bad or f"{names[0]} does not end in .conf",
        "write 'options vfio-pci ids=…' into a file that ends in .conf, or"
        " run 'gpu-passthrough host enable --binding ids'; then reboot",
    )


def builtin_vfio(case: Case) -> Cause | None:
    """Built in, vfio-pci never sees what modprobe is told."""
    evidence = case.evidence
    if not is_builtin_vfio(evidence) or any(told_ids(evidence)):
        return None
    ids = case.target.ids
    for given in vfio_pci_ids.from_modprobe(evidence.installation):
        if given.covers(ids):
            values = ",".join(given.models)
            return Cause(
                "builtin-vfio",
                Confidence.CERTAIN,
                "vfio-pci is built into the kernel, which does not read"
                " modprobe.d",
                given.source,
                f"put vfio-pci.ids={values} on the kernel command line:"
                " 'gpu-passthrough host enable --binding ids' does",
            )
    return None


def _kept_away(evidence: Evidence) -> Iterator[tuple[Confidence, str]]:
    for word in known(evidence.facts.kernel_arguments) or ():
        name, _, values = word.partition("=")
        names = {v.replace("-", "_") for v in values.split(",")}
        if vfio_pci_ids.MODULE in names and name == "module_blacklist":
            yield Confidence.CERTAIN, f"/proc/cmdline: {word}"
        elif vfio_pci_ids.MODULE in names and name in (
            "modprobe.blacklist",
            "rd.driver.blacklist",
        ):
            yield Confidence.LIKELY, f"/proc/cmdline: {word}"
    for line in modprobe.configuration(evidence.installation):
        if line.module != vfio_pci_ids.MODULE:
            continue
        if line.command == "blacklist":
            yield Confidence.LIKELY, str(line)
        elif line.command == "install" and line.rest.split()[:1] in (
            ["/bin/false"],
            ["/bin/true"],
            ["/usr/bin/false"],
            ["/usr/bin/true"],
        ):
            yield Confidence.CERTAIN, str(line)


def _bad_lines(evidence: Evidence) -> Iterator[str]:
    """Lines about vfio-pci that begin with no command of modprobe's."""
    for line in modprobe.configuration(evidence.installation):
        if line.is_valid or line.is_remark:
            continue
        if line.module == vfio_pci_ids.MODULE:
            yield str(line)


def _options(evidence: Evidence) -> Iterator[object]:
    yield from told_ids(evidence)
    yield from vfio_pci_ids.from_modprobe(evidence.installation)


def _passed_over(evidence: Evidence) -> Iterator[str]:
    """Files in its folder that are for vfio by name; nobody reads them."""
    for folder in modprobe.FOLDERS:
        for name in evidence.installation.names(folder):
            is_read = name.endswith((".conf", *_LEFTOVERS))
            if "vfio" in name and not is_read:
                yield posixpath.join(folder, name)

"""The module vfio-pci: missing, kept away, or told nothing."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.diagnosis.causes import vfio_selection
from gpu_passthrough_plugin.diagnosis.causes.vfio_selection import (
    is_builtin_vfio,
    told_ids,
)
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.formats import kernel_log, modprobe, vfio_pci_ids
from gpu_passthrough_plugin.model.reading import Unknown, known

# Kept by editors and package managers, and meant for nobody.
_LEFTOVERS = ("~", ".bak", ".dpkg-old", ".orig", ".rpmsave", ".swp")


def vfio_missing(case: Case) -> Cause | None:
    """The running kernel has no vfio-pci."""
    evidence = case.evidence
    line = kernel_log.first(evidence.messages, kernel_log.VFIO_NOT_FOUND)
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
    evidence = case.evidence
    block = next(
        modprobe.blocks(
            evidence.installation,
            known(evidence.facts.kernel_arguments) or (),
            vfio_pci_ids.MODULE,
        ),
        None,
    )
    if block is None or is_builtin_vfio(evidence):
        return None
    return Cause(
        "vfio-blacklisted",
        Confidence.CERTAIN if block.is_absolute else Confidence.LIKELY,
        "vfio-pci is kept from being loaded",
        block.source,
        "take that away, rebuild the initramfs and reboot",
    )


def modprobe_unread(case: Case) -> Cause | None:
    """Configuration for vfio-pci that modprobe passes over."""
    evidence = case.evidence
    bad = next(_bad_lines(evidence), None) or kernel_log.first(
        evidence.messages, kernel_log.VFIO_OPTION_IGNORED
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


_MODULE = re.compile(r"(^|/)vfio[-_]pci\.ko")
_SCRIPT = re.compile(r"gpu[-_]passthrough")
_REBUILD = "run 'gpu-passthrough host enable', then reboot"


def vfio_not_in_image(case: Case) -> Cause | None:
    """vfio-pci comes after the drivers that the initramfs loads."""
    names = _names(case)
    if names is None or any(map(_MODULE.search, names)):
        return None
    if not vfio_selection.is_claimed(case) or is_builtin_vfio(case.evidence):
        return None
    function = case.function
    is_taken = function is not None and isinstance(function.driver, str)
    return Cause(
        "vfio-not-in-image",
        Confidence.LIKELY if is_taken else Confidence.POSSIBLE,
        "vfio-pci is not in the initramfs: other drivers come first",
        f"{_shown(case, names)}: no vfio-pci.ko",
        _REBUILD,
    )


def script_not_in_image(case: Case) -> Cause | None:
    """The early script that sends functions to vfio-pci is not in it."""
    names, enablement = _names(case), case.evidence.enablement
    if names is None or enablement is None or enablement.binding != "address":
        return None
    scripts = (n for n in names if not n.endswith(".conf"))
    if any(map(_SCRIPT.search, scripts)):
        return None
    return Cause(
        "script-not-in-image",
        Confidence.LIKELY,
        "the early script is not in the initramfs: nothing sets"
        " driver_override before other drivers bind",
        f"{_shown(case, names)}: no gpu-passthrough",
        _REBUILD,
    )


def options_not_in_image(case: Case) -> Cause | None:
    """vfio-pci is in it, and the file with its ids is not."""
    names = _names(case)
    if names is None or not any(map(_MODULE.search, names)):
        return None
    if any(told_ids(case.evidence)):
        return None
    for ids in vfio_pci_ids.from_modprobe(case.evidence.installation):
        path = ids.path.rpartition("/")[2]
        there = any(n.endswith(f"modprobe.d/{path}") for n in names)
        if ids.covers(case.target.ids) and not there:
            return Cause(
                "options-not-in-image",
                Confidence.LIKELY,
                f"{ids.path} is not in the initramfs: vfio-pci is loaded"
                " without its ids there",
                f"{_shown(case, names)}: no {ids.path}",
                _REBUILD,
            )
    return None


def _names(case: Case) -> tuple[str, ...] | None:
    """What the running kernel's image holds; None where that is unknown."""
    release = case.evidence.facts.kernel_release
    if isinstance(release, Unknown):
        return None
    names = case.evidence.images.get(release)
    return None if isinstance(names, Unknown) else names


def _shown(case: Case, names: Sequence[str]) -> str:
    kernel = case.evidence.kernel
    image = kernel.image if kernel else None
    return f"{image or 'the initramfs'} ({len(names)} files)"

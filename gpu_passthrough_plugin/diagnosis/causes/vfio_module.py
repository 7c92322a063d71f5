"""How vfio-pci is loaded: with its options, and early enough.

Its module may be missing, blocked or built in, or the initramfs may lack it
or what configures it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from gpu_passthrough_plugin.diagnosis.causes import vfio_selection
from gpu_passthrough_plugin.diagnosis.causes.vfio_selection import (
    cmdline_ids,
    is_builtin_vfio,
)
from gpu_passthrough_plugin.diagnosis.evidence import (
    Case,
    Cause,
    Confidence,
    Evidence,
)
from gpu_passthrough_plugin.formats import (
    kernel_log,
    kernel_messages,
    modprobe,
    vfio_pci_ids,
)
from gpu_passthrough_plugin.model.function import VFIO_PCI
from gpu_passthrough_plugin.model.reading import Unknown, known

# Backups of editors and package managers.
_BACKUPS = ("~", ".bak", ".dpkg-old", ".orig", ".rpmsave", ".swp")
_MODULE = re.compile(r"(^|/)vfio[-_]pci\.ko")
_SCRIPT = re.compile(r"gpu[-_]passthrough")
MODULE_REMEDY = (
    "install the kernel's extra modules (linux-modules-extra, kernel-modules),"
    " or a kernel built with CONFIG_VFIO_PCI"
)
"""What to do where the running kernel has no vfio-pci."""
_REBUILD = "run 'gpu-passthrough host enable', then reboot"


def vfio_missing(case: Case) -> Cause | None:
    """Find that the running kernel has no vfio-pci."""
    evidence = case.evidence
    line = kernel_log.first(evidence.messages, kernel_messages.VFIO_NOT_FOUND)
    is_known = evidence.has_vfio is False
    is_bound = any(m.function.driver == VFIO_PCI for m in evidence.members)
    if is_bound or is_builtin_vfio(evidence) or evidence.has_vfio is True:
        return None
    if line is None and not is_known:
        return None
    release = evidence.facts.kernel_release
    return Cause(
        "vfio-missing",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"the running kernel {release} has no vfio-pci",
        line or f"/lib/modules/{release}/modules.dep has no vfio-pci.ko",
        MODULE_REMEDY,
    )


def vfio_blacklisted(case: Case) -> Cause | None:
    """Find a line or argument that keeps vfio-pci from being loaded."""
    evidence = case.evidence
    block = next(
        modprobe.blocks(
            evidence.installation,
            known(evidence.facts.kernel_arguments) or (),
            vfio_pci_ids.MODULE,
        ),
        None,
    )
    failure = kernel_log.first(
        evidence.messages, kernel_messages.VFIO_INSTALL_FAILED
    )
    if (block is None and failure is None) or is_builtin_vfio(evidence):
        return None
    if block is None:
        return Cause(
            "vfio-blacklisted",
            Confidence.LIKELY,
            "the install command of vfio-pci in modprobe.d failed, so the"
            " module may not be loaded",
            failure or "",
            "run 'modprobe --showconfig' to find the line 'install vfio_pci',"
            " correct or remove it, rebuild the initramfs and reboot",
        )
    return Cause(
        "vfio-blacklisted",
        Confidence.CERTAIN if block.is_absolute else Confidence.LIKELY,
        "vfio-pci is blocked from being loaded",
        block.source,
        "remove that line or argument, rebuild the initramfs and reboot",
    )


def modprobe_unread(case: Case) -> Cause | None:
    """Find configuration for vfio-pci that modprobe ignores."""
    evidence = case.evidence
    line = (
        next(_invalid_lines(evidence), None)
        or _bad_line(evidence)
        or _ignored_option(evidence)
        or kernel_log.first(evidence.messages, kernel_messages.BAD_WORD)
    )
    names = [] if any(_options(evidence)) else [*_ignored_files(evidence)]
    if not line and not names:
        return None
    return Cause(
        "modprobe-unread",
        Confidence.CERTAIN if line else Confidence.POSSIBLE,
        "modprobe ignores the configuration of vfio-pci",
        line or names[0],
        "put 'options vfio-pci ids=…' into a file in /etc/modprobe.d whose"
        " name ends in .conf, or run 'gpu-passthrough host enable --binding"
        " ids'; then reboot",
    )


def builtin_vfio(case: Case) -> Cause | None:
    """Find ids in modprobe.d for a vfio-pci that is built into the kernel."""
    evidence = case.evidence
    if not is_builtin_vfio(evidence) or any(cmdline_ids(evidence)):
        return None
    ids = case.target.ids
    for id_list in vfio_pci_ids.from_modprobe(evidence.installation):
        if id_list.covers(ids):
            values = ",".join(id_list.models)
            return Cause(
                "builtin-vfio",
                Confidence.CERTAIN,
                "vfio-pci is built into the kernel and does not read"
                " modprobe.d",
                id_list.source,
                "run 'gpu-passthrough host enable --binding ids', which adds"
                f" vfio-pci.ids={values} to the kernel command line, then"
                " reboot",
            )
    return None


def vfio_not_in_image(case: Case) -> Cause | None:
    """Find that the initramfs lacks vfio-pci, so other drivers load first."""
    names = _image_names(case)
    if names is None or any(map(_MODULE.search, names)):
        return None
    if not vfio_selection.is_selected(case) or is_builtin_vfio(case.evidence):
        return None
    function = case.function
    is_taken = function is not None and isinstance(function.driver, str)
    return Cause(
        "vfio-not-in-image",
        Confidence.LIKELY if is_taken else Confidence.POSSIBLE,
        "vfio-pci is not in the initramfs, so other drivers load first",
        f"{_describe_image(case, names)}: no vfio-pci.ko",
        _REBUILD,
    )


def script_not_in_image(case: Case) -> Cause | None:
    """Find that the initramfs lacks the script that sets driver_override."""
    names, enablement = _image_names(case), case.evidence.enablement
    if names is None or enablement is None or enablement.binding != "address":
        return None
    scripts = (n for n in names if not n.endswith(".conf"))
    if any(map(_SCRIPT.search, scripts)):
        return None
    return Cause(
        "script-not-in-image",
        Confidence.LIKELY,
        "the early script is not in the initramfs, so nothing sets"
        " driver_override before other drivers bind",
        f"{_describe_image(case, names)}: no gpu-passthrough",
        _REBUILD,
    )


def options_not_in_image(case: Case) -> Cause | None:
    """Find that the initramfs has vfio-pci and not the file with its ids."""
    names = _image_names(case)
    if names is None or not any(map(_MODULE.search, names)):
        return None
    if any(cmdline_ids(case.evidence)):
        return None
    for ids in vfio_pci_ids.from_modprobe(case.evidence.installation):
        name = posixpath.basename(ids.path)
        is_in_image = any(n.endswith(f"modprobe.d/{name}") for n in names)
        if ids.covers(case.target.ids) and not is_in_image:
            return Cause(
                "options-not-in-image",
                Confidence.LIKELY,
                f"{ids.path} is not in the initramfs, so vfio-pci is loaded"
                " there without its ids",
                f"{_describe_image(case, names)}: no {ids.path}",
                _REBUILD,
            )
    return None


def _invalid_lines(evidence: Evidence) -> Iterator[str]:
    """Yield lines about vfio-pci that are no command of modprobe."""
    for line in modprobe.configuration(evidence.installation):
        if line.is_valid or line.is_remark:
            continue
        is_id = vfio_pci_ids.parse(line.command.strip(',"')) is not None
        if line.module == vfio_pci_ids.MODULE or (
            is_id and _is_about_vfio(evidence, line.path)
        ):
            yield str(line)


# Taken by vfio-pci with CONFIG_VFIO_PCI_VGA alone; nothing depends on it.
_HARMLESS_OPTIONS = frozenset({"disable_vga"})


def _ignored_option(evidence: Evidence) -> str | None:
    """Return the log's line on an option that vfio-pci does not know."""
    for line in evidence.messages:
        match = kernel_messages.VFIO_OPTION_IGNORED.search(line)
        if match and match["name"] not in _HARMLESS_OPTIONS:
            return line
    return None


def _bad_line(evidence: Evidence) -> str | None:
    """Return the log's line on a line of a file about vfio-pci, or None."""
    for line in evidence.messages:
        match = kernel_messages.BAD_LINE.search(line)
        if match and _is_about_vfio(evidence, match["path"]):
            return line
    return None


def _is_about_vfio(evidence: Evidence, path: str) -> bool:
    data = evidence.installation.files.get(path)
    is_named = "vfio" in posixpath.basename(path)
    return is_named or (isinstance(data, bytes) and b"vfio" in data)


def _options(evidence: Evidence) -> Iterator[object]:
    yield from cmdline_ids(evidence)
    yield from vfio_pci_ids.from_modprobe(evidence.installation)


def _ignored_files(evidence: Evidence) -> Iterator[str]:
    """Yield files named for vfio that modprobe does not read, and why."""
    for folder in modprobe.MISSPELT_FOLDERS:
        for name in evidence.installation.names(folder):
            if "vfio" in name:
                path = posixpath.join(folder, name)
                yield f"{path}: modprobe does not read {folder}"
    for folder in modprobe.FOLDERS:
        for name in evidence.installation.names(folder):
            is_read = name.endswith((".conf", *_BACKUPS))
            if "vfio" in name and not is_read:
                path = posixpath.join(folder, name)
                yield f"{path} does not end in .conf"


def _image_names(case: Case) -> tuple[str, ...] | None:
    """Return the names in the running kernel's initramfs; None if unknown."""
    release = case.evidence.facts.kernel_release
    if isinstance(release, Unknown):
        return None
    names = case.evidence.images.get(release)
    return None if isinstance(names, Unknown) else names


def _describe_image(case: Case, names: Sequence[str]) -> str:
    kernel = case.evidence.kernel
    image = kernel.image if kernel else None
    return f"{image or 'the initramfs'} ({len(names)} files)"

"""What the running kernel's initramfs lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpu_passthrough_plugin.diagnosis.causes import claim
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.diagnosis.vfio_ids import is_builtin_vfio, told_ids
from gpu_passthrough_plugin.formats import vfio_pci_ids
from gpu_passthrough_plugin.model.reading import Unknown

_MODULE = re.compile(r"(^|/)vfio[-_]pci\.ko")
_SCRIPT = re.compile(r"gpu[-_]passthrough")
_REBUILD = "run 'gpu-passthrough host enable', then reboot"


def vfio_not_in_image(case: Case) -> Cause | None:
    """vfio-pci comes after the drivers that the initramfs loads."""
    names = _names(case)
    if names is None or any(map(_MODULE.search, names)):
        return None
    if not claim.is_claimed(case) or is_builtin_vfio(case.evidence):
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

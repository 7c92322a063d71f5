"""Another driver has the function."""

from __future__ import annotations

import re

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence

_VFIO = re.compile(r"VFIO - User Level|vfio[-_]pci", re.IGNORECASE)
_COMMAND = re.compile(r"command line", re.IGNORECASE)


def competing_driver(case: Case) -> Cause | None:
    """It was there before vfio-pci."""
    function = case.function
    if function is None or not case.is_unbound:
        return None
    driver = function.driver
    if not isinstance(driver, str):
        return None
    line = log.own(case, rf"\b{re.escape(driver)}\b")
    is_first = line is not None and _is_before_vfio(case, line)
    return Cause(
        "competing-driver",
        Confidence.CERTAIN,
        f"{driver} {'bound' if is_first else 'has'} {function.address}"
        f"{' before vfio-pci was there' if is_first else ''}",
        line or f"/sys/bus/pci/devices/{function.address}/driver: {driver}",
        _fix(case, driver),
    )


def _is_before_vfio(case: Case, line: str) -> bool:
    """Whether vfio-pci speaks, and later.

    A log that has lost its beginning says nothing of who was first.
    """
    said = [ln for ln in log.lines(case.evidence) if not _COMMAND.search(ln)]
    first = next((at for at, ln in enumerate(said) if _VFIO.search(ln)), None)
    return first is not None and line in said[:first]


def _fix(case: Case, driver: str) -> str:
    kernel = case.evidence.kernel
    builtin = None if kernel is None else kernel.builtin
    names = {driver.replace("-", "_"), *case.target.modules}
    if isinstance(builtin, frozenset) and names & builtin:
        return (
            f"{driver} is built into the kernel, and only an early script"
            " can be faster: run 'gpu-passthrough host enable --binding"
            " address', then reboot"
        )
    return (
        "run 'gpu-passthrough host enable', then reboot; or have vfio-pci"
        f" loaded first: 'softdep {driver} pre: vfio-pci' in /etc/modprobe.d"
    )

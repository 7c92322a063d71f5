"""The function does not answer."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.model.function import Header

# Source: kernel, drivers/pci/pci.c (pci_power_up, pci_raw_set_power_state).
_ASLEEP = (
    r"(unable to|can't) change power state from D3cold",
    r"refused to change power state",
)


def dead(case: Case) -> Cause | None:
    """Its config space reads all ones."""
    detail = case.detail
    if detail is None or detail.header is not Header.DEAD:
        return None
    return Cause(
        "dead",
        Confidence.CERTAIN,
        f"{case.target.address} does not answer",
        "its config space reads ff (header type 7f)",
        "take the host's power away for a minute: a reboot often leaves the"
        " card as it is",
    )


def d3cold(case: Case) -> Cause | None:
    """It did not wake up; one that answers again may have done so."""
    line = log.own(case, *_ASLEEP)
    detail = case.detail
    if line is None or detail is None:
        return None
    sure = Confidence.LIKELY if case.is_unbound else Confidence.POSSIBLE
    if detail.header is Header.DEAD:
        sure = Confidence.CERTAIN
    return Cause(
        "d3cold",
        sure,
        f"{case.target.address} did not wake up from D3cold",
        line,
        "keep it awake with 'options vfio-pci disable_idle_d3=1' in"
        " /etc/modprobe.d, rebuild the initramfs, and power-cycle the host",
    )

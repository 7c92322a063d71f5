"""What the kernel's log says of a card: resets, errors, lost interrupts."""

from __future__ import annotations

import re

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    iommu_arguments,
    kernel_log,
    kernel_messages,
)
from gpu_passthrough_plugin.model.reading import known

_POWER_CYCLE = (
    "power-cycle the host before the next guest; a reboot is often not enough"
)


def reset_failed(case: Case) -> Cause | None:
    """Find that the function did not come back from a reset."""
    line = kernel_log.last(case.messages, kernel_messages.RESET_FAILED)
    if line is None:
        return None
    return Cause(
        "reset-failed",
        Confidence.LIKELY,
        f"a reset of {case.target.address} did not complete; the function may"
        " not respond to the next guest",
        line,
        f"{_POWER_CYCLE}; if it happens with every guest, install a reset"
        " module for the card where there is one (vendor-reset for AMD), or"
        " assign the card once per boot",
    )


def iommu_timeout(case: Case) -> Cause | None:
    """Find that the IOMMU waits for a device that does not respond."""
    about = kernel_log.last(
        kernel_log.about_in_any_form(
            case.evidence.messages, case.target.address
        ),
        kernel_messages.INVALIDATION_TIMED_OUT,
    )
    line = about or kernel_log.last(
        case.evidence.messages, kernel_messages.INVALIDATION_TIMED_OUT
    )
    if line is None:
        return None
    return Cause(
        "iommu-timeout",
        Confidence.LIKELY if about else Confidence.POSSIBLE,
        f"the IOMMU waits for {case.target.address}, which does not respond"
        if about
        else "the IOMMU waits for a device that does not respond",
        line,
        f"{_POWER_CYCLE}; if it comes back, try 'pci=noats' on the kernel"
        " command line",
    )


def bar_unassigned(case: Case) -> Cause | None:
    """Find that the kernel had no addresses for the function's memory."""
    lines: dict[str, str] = {}
    for message in case.messages:
        if match := kernel_messages.BAR_UNASSIGNED.search(message):
            lines[match["bar"]] = message
        elif match := kernel_messages.BAR_ASSIGNED.search(message):
            lines.pop(match["bar"], None)
    if not lines:
        return None
    line = next(iter(lines.values()))
    return Cause(
        "bar-unassigned",
        Confidence.LIKELY,
        f"a BAR of {case.target.address} has no address, so no guest can use"
        " the function",
        line,
        "enable 'Above 4G decoding' (and 64-bit or large MMIO) in the firmware"
        " setup, or add pci=realloc to the kernel command line",
    )


def pcie_error(case: Case) -> Cause | None:
    """Find an uncorrected error of the function's PCI Express link."""
    line = kernel_log.last(case.messages, kernel_messages.PCIE_ERROR)
    if line is None or _is_undone(case, line, kernel_messages.PCIE_RECOVERED):
        return None
    return Cause(
        "pcie-error",
        Confidence.POSSIBLE,
        f"the PCI Express link of {case.target.address} had an error that was"
        " not corrected",
        line,
        "check the card's seat, power and riser; 'lspci -vv' shows the link's"
        " speed and width",
    )


def gpu_fault(case: Case) -> Cause | None:
    """Find an error (Xid) of NVIDIA's driver that outlives the driver."""
    address = case.target.address
    for line in reversed(case.evidence.messages):
        match = kernel_messages.XID.search(line)
        if match is None or not str(address).startswith(match["place"]):
            continue
        if match["code"] == "154" and re.search(r"to 0x0 \(None\)", line):
            return None
        return Cause(
            "gpu-fault",
            Confidence.POSSIBLE,
            f"the NVIDIA driver lost {address} (Xid {match['code']}) before"
            " vfio-pci bound it",
            line,
            _POWER_CYCLE,
        )
    return None


def acs_override(case: Case) -> Cause | None:
    """Find that groups were made that the hardware may not isolate."""
    word = iommu_arguments.acs_override(
        known(case.evidence.facts.kernel_arguments) or ()
    )
    line = kernel_log.first(
        case.evidence.messages, kernel_messages.ACS_OVERRIDDEN
    )
    if word is None and line is None:
        return None
    return Cause(
        "acs-override",
        Confidence.POSSIBLE,
        "groups were split by the ACS override: functions of different groups"
        " may reach each other's memory without the IOMMU",
        line or f"/proc/cmdline: {word}",
        "remove pcie_acs_override from the kernel command line where guests"
        " do not trust each other, and move the card to a slot behind a port"
        " with ACS",
    )


def _is_undone(case: Case, line: str, pattern: re.Pattern[str]) -> bool:
    """Return whether a later message of the function takes it back."""
    messages = case.messages
    after = messages[messages.index(line) + 1 :]
    return kernel_log.first(after, pattern) is not None

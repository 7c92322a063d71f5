"""What the kernel's log says of a card: resets, errors, blocked accesses."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    iommu_arguments,
    kernel_log,
    kernel_messages,
)
from gpu_passthrough_plugin.model.function import NVIDIA
from gpu_passthrough_plugin.model.reading import Unknown, known
from gpu_passthrough_plugin.model.reset_family import family

_POWER_CYCLE = (
    "power-cycle the host before the next guest; a reboot is often not enough"
)


def reset_failed(case: Case) -> Cause | None:
    """Find that the function did not come back from a reset."""
    line = kernel_log.last(case.messages, kernel_messages.RESET_FAILED)
    if line is None:
        return None
    target = case.target
    event = kernel_messages.RESET_FAILED.search(line)
    after = (event and event["event"]) or "a reset"
    row = family(target.vendor_id, target.product_id)
    advice = "if it happens with every guest, assign the card once per boot"
    if row is not None:
        advice = row.remedy
    fix = f"{_POWER_CYCLE}; {advice}"
    return Cause(
        "reset-failed",
        Confidence.LIKELY,
        f"{target.address} did not respond after {after}; it may not respond"
        " to the next guest",
        line,
        fix,
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
    if line := _last_of_place(case, kernel_messages.NVRM_BAR):
        lines["NVRM"] = line
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
    """Find an uncorrected error of the function's PCI Express link.

    The port above the function is the one that reports a link that is down.
    """
    messages = _messages_of_link(case)
    line = kernel_log.last(messages, kernel_messages.PCIE_ERROR)
    if line is None or _is_undone(
        messages, line, kernel_messages.PCIE_RECOVERED
    ):
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


def device_lost(case: Case) -> Cause | None:
    """Find that the function stopped responding at some time.

    It may have come back since: its config space tells.
    """
    line = kernel_log.last(case.messages, kernel_messages.DEVICE_LOST)
    detail = case.detail
    if line is None or detail is None:
        return None
    is_known = not isinstance(detail.header, Unknown)
    return Cause(
        "device-lost",
        Confidence.POSSIBLE if is_known else Confidence.LIKELY,
        f"{case.target.address} stopped responding during this boot",
        line,
        "if the next guest fails, power-cycle the host; a reboot is often not"
        " enough",
    )


def gpu_fault(case: Case) -> Cause | None:
    """Find an error of the card's earlier driver that outlives the driver."""
    address = case.target.address
    line = _driver_error(case)
    if line is None:
        return None
    xid = kernel_messages.XID.search(line)
    code = f" (Xid {xid['code']})" if xid else ""
    return Cause(
        "gpu-fault",
        Confidence.POSSIBLE,
        f"a driver of the host lost {address}{code} before vfio-pci bound it",
        line,
        _POWER_CYCLE,
    )


def nvlink_fault(case: Case) -> Cause | None:
    """Find an error of the NVLink fabric that a GPU of NVIDIA is on."""
    if case.target.vendor_id != NVIDIA:
        return None
    messages = case.evidence.messages
    line = _last_of_place(case, kernel_messages.NVLINK_XID) or kernel_log.last(
        messages, kernel_messages.NVSWITCH_FATAL
    )
    if line is None:
        return None
    return Cause(
        "nvlink-fault",
        Confidence.POSSIBLE,
        f"the NVLink fabric of {case.target.address} reported an error; a"
        " guest with several of its GPUs may not start them",
        line,
        "check the partition and the log of NVIDIA Fabric Manager"
        " (/var/log/fabricmanager.log), and reset the GPUs and NVSwitches of"
        " the fabric together while no guest has any of them",
    )


def iommu_fault(case: Case) -> Cause | None:
    """Find accesses or interrupts of the function that were blocked."""
    lines = [
        line
        for line in kernel_log.about_in_any_form(
            case.evidence.messages, case.target.address
        )
        if kernel_messages.IOMMU_FAULT.search(line)
    ]
    if not lines:
        return None
    times = "once" if len(lines) == 1 else f"{len(lines)} times"
    return Cause(
        "iommu-fault",
        Confidence.POSSIBLE,
        f"the IOMMU blocked {case.target.address} {times}: it accessed memory"
        " or sent an interrupt that was not mapped for it",
        lines[-1],
        "single ones are harmless while a guest starts or ends; if they"
        " repeat, update the guest's driver and the card's firmware, and"
        " check that one guest has all functions of the group",
    )


def iommu_error(case: Case) -> Cause | None:
    """Find an error of the IOMMU itself."""
    line = kernel_log.last(case.evidence.messages, kernel_messages.IOMMU_ERROR)
    if line is None:
        return None
    return Cause(
        "iommu-error",
        Confidence.POSSIBLE,
        "an IOMMU of the host reported an error of its own",
        line,
        "update the firmware and the kernel; if it comes back, take the host"
        " out of service",
    )


def release_blocked(case: Case) -> Cause | None:
    """Find that a driver waits until a program lets the function go."""
    line = kernel_log.last(case.messages, kernel_messages.RELEASE_BLOCKED)
    if line is None:
        return None
    return Cause(
        "release-blocked",
        Confidence.POSSIBLE,
        f"the function's driver waits until a program stops using"
        f" {case.target.address}",
        line,
        "shut down the guest, or stop the program, that uses it; the message"
        " may name it, and for a driver of the host 'fuser -v' on the files"
        " in /dev lists it",
    )


def vf_token(case: Case) -> Cause | None:
    """Find that a guest lacked the token of a physical function's user."""
    line = kernel_log.last(case.messages, kernel_messages.VF_TOKEN)
    if line is None:
        return None
    return Cause(
        "vf-token",
        Confidence.POSSIBLE,
        f"a program opened {case.target.address} without the VF token that it"
        " needs, because its physical function is on vfio-pci",
        line,
        "leave the physical function on its own driver; libvirt sets no VF"
        " token",
    )


def memory_lock_limit(case: Case) -> Cause | None:
    """Find that a program could not lock its guest's memory."""
    line = kernel_log.last(
        case.evidence.messages, kernel_messages.MEMORY_LOCK_LIMIT
    )
    if line is None:
        return None
    return Cause(
        "memory-lock-limit",
        Confidence.POSSIBLE,
        "a program that uses VFIO could not lock its guest's memory",
        line,
        "start the guest with libvirt, which raises the limit; for another"
        " service set LimitMEMLOCK=infinity in its unit",
    )


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


def rmrr_relaxed(case: Case) -> Cause | None:
    """Find that the kernel ignores what the firmware reserved (RMRR)."""
    line = kernel_log.first(
        case.evidence.messages, kernel_messages.RMRR_RELAXED
    )
    if line is None:
        return None
    return Cause(
        "rmrr-relaxed",
        Confidence.POSSIBLE,
        "the kernel ignores memory that the firmware reserved for devices: a"
        " device that still uses it corrupts a guest's memory",
        line,
        "remove relax_rmrr from intel_iommu= on the kernel command line where"
        " the firmware has a setting that ends the reservation",
    )


def _driver_error(case: Case) -> str | None:
    """Return the last message that the card was lost, unless undone."""
    line = kernel_log.last(case.messages, kernel_messages.GPU_LOST)
    if line is not None:
        is_undone = _is_undone(
            case.messages, line, kernel_messages.GPU_RECOVERED
        )
        return None if is_undone else line
    action = _last_of_place(case, kernel_messages.XID)
    if action is None:
        return _fallen_off(case)
    if _RECOVERED.search(action):
        return None
    # What is to be done is said last, and why before it.
    cause = _last_of_place(case, kernel_messages.XID_FAULT)
    return action if cause in (None, action) else f"{cause}; {action}"


# The recovery action of Xid 154.
_RECOVERED = re.compile(r": 154\b.* to 0x0 \(None\)")


def _last_of_place(case: Case, pattern: re.Pattern[str]) -> str | None:
    """Return the last match whose ``place`` is the function's, or None.

    NVIDIA's driver may write an address without its function.
    """
    address = str(case.target.address)
    for line in reversed(case.evidence.messages):
        match = pattern.search(line)
        if match and address.startswith(match["place"].lower()):
            return line
    return None


def _fallen_off(case: Case) -> str | None:
    """Return the first of three lines that have no Xid, or None."""
    messages = case.evidence.messages
    for index, line in enumerate(messages):
        match = kernel_messages.NVRM_GPU.search(line)
        is_lost = kernel_log.first(
            messages[index : index + 3], kernel_messages.FALLEN_OFF
        )
        if match and is_lost:
            place = match["place"].lower()
            if place == str(case.target.address):
                return is_lost
    return None


def _messages_of_link(case: Case) -> tuple[str, ...]:
    """Return the messages on the function and the port above it, in order."""
    detail = case.detail
    ports = () if detail is None else detail.bridges[-1:]
    every = case.evidence.messages
    messages = {*case.messages}.union(
        *(kernel_log.about(every, port) for port in ports)
    )
    return tuple(message for message in every if message in messages)


def _is_undone(
    messages: Sequence[str], line: str, pattern: re.Pattern[str]
) -> bool:
    """Return whether a message after ``line`` takes it back."""
    after = messages[messages.index(line) + 1 :]
    return kernel_log.first(after, pattern) is not None

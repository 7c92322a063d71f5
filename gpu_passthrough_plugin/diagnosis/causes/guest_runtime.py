"""Can a guest use the function: what fails although vfio-pci has it."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    iommu_arguments,
    kernel_cmdline,
    kernel_log,
    kernel_messages,
    modprobe,
)
from gpu_passthrough_plugin.model.group import RESERVED_REGION
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, known, shown


def rmrr(case: Case) -> Cause | None:
    """Find that the firmware keeps memory mapped for the device (RMRR)."""
    line = kernel_log.first(case.messages, kernel_messages.IDENTITY_MAPPED)
    reserved = next(
        (r.text for r in case.reasons if r.rule == RESERVED_REGION), None
    )
    if line is None and reserved is None:
        return None
    text = (
        f"the firmware keeps memory mapped for {case.target.address} (RMRR,"
        " or RMR on ARM), so the kernel does not let a guest use it"
    )
    rejected = kernel_log.first(
        case.evidence.messages, kernel_messages.RELAX_UNKNOWN
    )
    if rejected is not None:
        text += f"; this kernel does not know relax_rmrr ({rejected})"
    return Cause(
        "rmrr",
        Confidence.CERTAIN,
        text,
        line or reserved or "",
        "update the firmware, or disable 'Pre-boot DMA Protection' or the"
        " vendor's shared memory for that slot in the firmware setup",
    )


def framebuffer(case: Case) -> Cause | None:
    """Find that the boot framebuffer uses the card's memory."""
    line = kernel_log.first(case.messages, kernel_messages.BAR_IN_USE)
    detail = case.detail
    messages = case.evidence.messages
    framebuffer_line = kernel_log.first(messages, kernel_messages.FRAMEBUFFER)
    is_boot_vga = detail is not None and detail.boot_vga is True
    words = _framebuffer_words(case)
    if line is None and words:
        return None
    if line is None and not (is_boot_vga and framebuffer_line):
        return None
    return Cause(
        "framebuffer",
        Confidence.LIKELY if line else Confidence.POSSIBLE,
        f"the kernel's boot framebuffer may still use the memory of"
        f" {case.target.address}",
        line or f"boot_vga: 1; {framebuffer_line}",
        _framebuffer_fix(case, words),
    )


def _framebuffer_fix(case: Case, words: list[str]) -> str:
    """Return how to free the memory; what was tried already is no fix."""
    fix = "select another primary display in the firmware setup, or "
    matches = map(
        kernel_messages.FRAMEBUFFER_DEVICE.search, case.evidence.messages
    )
    name = next((match["name"] for match in matches if match), None)
    if words and name:
        return (
            f"{fix}run 'echo {name} > /sys/bus/platform/devices/{name}"
            "/driver/unbind' at every boot before a guest starts:"
            f" {' and '.join(words)} did not keep the kernel from making it"
        )
    if words:
        return (
            f"{fix}unbind the driver that /proc/iomem shows in this memory:"
            f" {' and '.join(words)} did not keep the kernel from using it"
        )
    return (
        f"{fix}add initcall_blacklist=sysfb_init (video=efifb:off before"
        " kernel 5.15) to the kernel command line"
    )


def _framebuffer_words(case: Case) -> list[str]:
    """Return the running kernel's words against a boot framebuffer."""
    words = known(case.evidence.facts.kernel_arguments) or ()
    return [
        argument
        for argument in (
            "initcall_blacklist=sysfb_init",
            "video=efifb:off",
            "video=vesafb:off",
        )
        if kernel_cmdline.contains(words, argument)
    ]


def interrupt_remapping(case: Case) -> Cause | None:
    """Find that interrupts are not remapped; VFIO then refuses guests."""
    evidence = case.evidence
    line = kernel_log.first(
        evidence.messages, kernel_messages.NO_INTERRUPT_REMAPPING
    )
    words = known(evidence.facts.kernel_arguments) or ()
    word = (
        iommu_arguments.interrupt_remapping_off(words)
        if evidence.facts.may_be_x86
        else None
    )
    on = kernel_log.first(
        evidence.messages, kernel_messages.INTERRUPT_REMAPPING_ON
    )
    if (line is None and word is None) or (on and word is None):
        return None
    allowed = _unsafe_interrupts(case)
    if allowed is not None:
        return Cause(
            "interrupt-remapping",
            Confidence.POSSIBLE,
            "interrupts are not remapped, and VFIO starts guests all the same:"
            " a guest can send the host any interrupt",
            f"{line or f'/proc/cmdline: {word}'}; {allowed.source}",
            "for guests that are not trusted, remove allow_unsafe_interrupts"
            " and use a machine that remaps interrupts",
        )
    return Cause(
        "interrupt-remapping",
        Confidence.CERTAIN if line else Confidence.LIKELY,
        "interrupts are not remapped, so VFIO refuses to start guests",
        line or f"/proc/cmdline: {word}",
        (
            "enable interrupt remapping (x2APIC) in the firmware setup and"
            " remove nointremap and intremap=off from the kernel command line"
            if evidence.facts.may_be_x86
            else "update the firmware: it does not describe what isolates"
            " interrupts, such as an Interrupt Translation Service (ITS)"
        )
        + "; for trusted guests only, allow_unsafe_interrupts=1 allows it",
    )


def no_reset(case: Case) -> Cause | None:
    """Find that the function cannot be reset between two guests."""
    detail = case.detail
    if detail is None:
        return None
    methods = detail.reset_methods
    address = case.target.address
    path = f"/sys/bus/pci/devices/{address}/reset_method"
    fix = "move the card to a slot with a port of its own"
    if methods == ():
        evidence = f"{path} is empty: reset is turned off"
        fix = f"run 'echo default > {path}', or {fix}"
    elif (
        methods == MISSING and not detail.bridges and _has_reset_methods(case)
    ):
        evidence = f"{path} is missing, and the function is below no bridge"
    else:
        return None
    return Cause(
        "no-reset",
        Confidence.LIKELY,
        f"{address} cannot be reset: the next guest may not start",
        evidence,
        fix,
    )


# What resets a whole bus, as against one function.
_OF_THE_BUS = frozenset({"bus", "cxl_bus"})


def reset_shared(case: Case) -> Cause | None:
    """Find that a reset takes along a function that stays with the host."""
    function, detail = case.function, case.detail
    if function is None or detail is None or not detail.bridges:
        return None
    methods = known(detail.reset_methods)
    if not methods or not _OF_THE_BUS.issuperset(methods):
        return None
    other = next(
        (
            m
            for m in case.evidence.members
            if m.address[:2] == function.address[:2]
            and m.role.is_assigned
            and m.function.iommu_group != function.iommu_group
            and m.is_on_vfio is not True
        ),
        None,
    )
    if other is None:
        return None
    driver = shown(other.function.driver) or "no driver"
    return Cause(
        "reset-shared",
        Confidence.POSSIBLE,
        f"{function.address} can be reset only with its bus, which also"
        f" resets {other.address} of another group",
        f"reset_method: {' '.join(methods)}; {other.address} in group"
        f" {shown(other.function.iommu_group)} is on {driver}",
        f"assign both groups to one guest, or leave {function.address} to the"
        " host: QEMU cannot reset it alone",
    )


def _unsafe_interrupts(case: Case) -> modprobe.Option | None:
    """Return what allows interrupts that are not remapped, or None."""
    option = modprobe.parameters(
        case.evidence.installation,
        known(case.evidence.facts.kernel_arguments) or (),
        "vfio_iommu_type1",
    ).get("allow_unsafe_interrupts")
    return option if option is not None and option.is_true else None


def _has_reset_methods(case: Case) -> bool:
    """Return whether this kernel has ``reset_method`` for any function."""
    return any(
        m.detail is not None
        and not isinstance(m.detail.reset_methods, Unknown)
        for m in case.evidence.members
    )

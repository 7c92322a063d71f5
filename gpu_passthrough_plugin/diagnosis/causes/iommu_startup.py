"""Why the function has no IOMMU group: firmware, kernel argument, start-up."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import kernel_arguments
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import (
    iommu_arguments,
    kernel_log,
    kernel_messages,
)
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
    INTEL_ON,
)
from gpu_passthrough_plugin.model.function import INTEL as INTEL_VENDOR
from gpu_passthrough_plugin.model.group import NO_IOMMU, VFIO_NO_IOMMU
from gpu_passthrough_plugin.model.host_facts import (
    FEATURES,
    IOMMU_TABLES,
    firmware_remedy,
    start_remedy,
)
from gpu_passthrough_plugin.model.reading import Unknown, known


def firmware_off(case: Case) -> Cause | None:
    """Find that the firmware has no ACPI table of an IOMMU."""
    facts = case.evidence.facts
    tables, vendor = facts.acpi_tables, facts.cpu_vendor
    is_known = not isinstance(vendor, Unknown)
    names = {
        v: t for v, t in IOMMU_TABLES.items() if v == vendor or not is_known
    }
    if not _has_no_group(case) or not names:
        return None
    # Either maker's table will do: an emulated host mixes them.
    if not isinstance(tables, Unknown) and tables & {*IOMMU_TABLES.values()}:
        return None
    feature = " or ".join(FEATURES[v] for v in names)
    confidence = Confidence.CERTAIN if is_known else Confidence.LIKELY
    evidence = (
        f"/sys/firmware/acpi/tables has no {' and no '.join(names.values())}"
    )
    text = f"{feature} is disabled in the firmware, so the kernel has no IOMMU"
    if isinstance(tables, Unknown):
        text = f"{feature} may be disabled in the firmware"
        confidence = Confidence.POSSIBLE
        evidence = f"/sys/firmware/acpi/tables is unknown: {tables}"
    probe_error = kernel_log.first(
        case.messages, kernel_messages.VFIO_PROBE_FAILED
    )
    return Cause(
        "firmware-off",
        confidence,
        text,
        evidence + (f"; {probe_error}" if probe_error else ""),
        firmware_remedy(*names),
    )


def iommu_off(case: Case) -> Cause | None:
    """Find an argument that turns the IOMMU off."""
    words, parameter = _cmdline(case)
    off = iommu_arguments.turned_off_by(words, parameter)
    if off is None or not _is_still_off(case) or _is_overridden(words, off):
        return None
    return Cause(
        "iommu-off",
        Confidence.CERTAIN,
        f"the kernel was started with {off}, which turns the IOMMU off",
        f"/proc/cmdline: {kernel_arguments.spelling(words, off)}",
        iommu_arguments.removal(off),
    )


def argument_overridden(case: Case) -> Cause | None:
    """Find an argument that turns the IOMMU off after one that turns it on."""
    words, parameter = _cmdline(case)
    off = iommu_arguments.turned_off_by(words, parameter)
    if not off or not _is_still_off(case) or not _is_overridden(words, off):
        return None
    return Cause(
        "argument-overridden",
        Confidence.CERTAIN,
        f"{off} turns the IOMMU off, although {INTEL_ON} is earlier on the"
        " kernel command line",
        f"/proc/cmdline: {kernel_arguments.spelling(words, INTEL_ON)} …"
        f" {kernel_arguments.spelling(words, off)}",
        iommu_arguments.removal(off),
    )


def argument_misspelt(case: Case) -> Cause | None:
    """Find a misspelt argument that was meant to turn the IOMMU on."""
    words, _ = _cmdline(case)
    word = iommu_arguments.ineffective(words)
    if (
        word is None
        or not _lacks_switch(case)
        or kernel_arguments.is_pending(case)
    ):
        return None
    return Cause(
        "argument-misspelt",
        Confidence.CERTAIN,
        f"the kernel was started with {word}, which it ignores, so nothing"
        " turns the IOMMU on",
        f"/proc/cmdline: {word}",
        iommu_arguments.replacement(word),
    )


def argument_missing(case: Case) -> Cause | None:
    """Find that nothing on the command line turns Intel's IOMMU on.

    Many kernels make groups without the argument, so its absence alone is
    no cause: the kernel must have made no group.
    """
    words, _ = _cmdline(case)
    if not _lacks_switch(case) or iommu_arguments.ineffective(words):
        return None
    # To write it again would not help.
    if kernel_arguments.argument_removed(case):
        return None
    unread = kernel_arguments.unread_place(case, INTEL_ON)
    if unread is None and kernel_arguments.is_configured(case, INTEL_ON):
        return None
    facts = case.evidence.facts
    is_likely = "DMAR" in (known(facts.acpi_tables) or ()) and not isinstance(
        facts.iommus, Unknown
    )
    return Cause(
        "argument-missing",
        Confidence.LIKELY if is_likely else Confidence.POSSIBLE,
        f"the kernel was started without {INTEL_ON} and made no IOMMU group",
        f"/proc/cmdline: {' '.join(words)}"
        + (f"; {unread}" if unread else ""),
        iommu_arguments.ADDITION,
    )


def iommu_driver_missing(case: Case) -> Cause | None:
    """Find that the kernel was built without the IOMMU's driver."""
    if not _should_run(case):
        return None
    line = kernel_log.first(
        case.evidence.messages, kernel_messages.INTEL_IOMMU_UNKNOWN
    )
    if line is None and _failure(case):
        return None
    return Cause(
        "iommu-driver-missing",
        Confidence.CERTAIN if line else Confidence.POSSIBLE,
        f"the kernel {'was' if line else 'may have been'} built without the"
        " IOMMU's driver",
        line or "/sys/class/iommu is empty, and the log does not say why",
        "boot the distribution's kernel, or one built with CONFIG_INTEL_IOMMU"
        " or CONFIG_AMD_IOMMU",
    )


def iommu_not_started(case: Case) -> Cause | None:
    """Find that no IOMMU started although table and argument are there."""
    if not _should_run(case):
        return None
    line = _failure(case)
    return Cause(
        "iommu-not-started",
        Confidence.CERTAIN if line else Confidence.LIKELY,
        "the firmware has an IOMMU that the kernel could not start",
        line or "/sys/class/iommu is empty",
        start_remedy(case.evidence.facts.cpu_vendor),
    )


def not_covered(case: Case) -> Cause | None:
    """Find that the active IOMMU does not cover this function."""
    function = case.function
    if function is None or function.iommu_group is not None:
        return None
    running = known(case.evidence.facts.iommus) or ()
    if not running and not case.evidence.has_groups:
        return None
    if any(
        reason.rule == VFIO_NO_IOMMU
        for reasons in case.evidence.reasons.values()
        for reason in reasons
    ):
        # Those groups are VFIO's own: no IOMMU is active.
        return None
    evidence = f"/sys/class/iommu: {', '.join(running)}"
    if not running:
        evidence = "other functions are in groups"
    graphics = _left_out_graphics(case)
    if graphics is not None:
        return Cause(
            "not-covered",
            Confidence.CERTAIN,
            "the kernel leaves the processor's graphics out of the IOMMU",
            graphics,
            "remove igfx_off from intel_iommu= on the kernel command line"
            " where it is there; else leave the function to the host",
        )
    return Cause(
        "not-covered",
        Confidence.CERTAIN if running else Confidence.LIKELY,
        "an IOMMU is active, but does not cover this function",
        f"{function.address} has no iommu_group; {evidence}",
        next(
            (r.remedy for r in case.reasons if r.rule == NO_IOMMU),
            "move the card to another slot, or leave it to the host",
        ),
    )


def _left_out_graphics(case: Case) -> str | None:
    """Return the log's line on a processor's graphics, or None."""
    function = case.function
    if function is None or not function.is_display:
        return None
    if function.vendor_id != INTEL_VENDOR or case.target.address.bus != 0:
        return None
    return kernel_log.first(
        case.evidence.messages, kernel_messages.GRAPHICS_LEFT_OUT
    )


def no_iommu_group(case: Case) -> Cause | None:
    """Find that nothing isolates the function, where no rule says why."""
    if any(rule(case) is not None for rule in _EXPLANATIONS):
        return None
    reason = next(
        (r for r in case.reasons if r.rule in (NO_IOMMU, VFIO_NO_IOMMU)), None
    )
    function = case.function
    if reason is None or function is None:
        return None
    is_known = not isinstance(case.evidence.facts.iommus, Unknown)
    return Cause(
        "no-iommu-group",
        Confidence.CERTAIN if is_known else Confidence.LIKELY,
        f"no IOMMU isolates {function.address}: {reason.text}",
        _evidence_text(case),
        reason.remedy,
    )


_EXPLANATIONS = (
    firmware_off,
    iommu_off,
    argument_overridden,
    argument_misspelt,
    argument_missing,
    iommu_driver_missing,
    iommu_not_started,
    not_covered,
)


def _evidence_text(case: Case) -> str:
    function, facts = case.function, case.evidence.facts
    line = kernel_log.first(case.messages, kernel_messages.VFIO_PROBE_FAILED)
    line = line or _failure(case)
    if line is not None:
        return line
    group = None if function is None else function.iommu_group
    folder = f"/sys/bus/pci/devices/{case.target.address}"
    if isinstance(group, int):
        return f"{folder}/iommu_group: {group}"
    running = ", ".join(known(facts.iommus) or ()) or "empty"
    return f"{folder} has no iommu_group; /sys/class/iommu: {running}"


def _has_no_group(case: Case) -> bool:
    """Return whether neither the function nor the host has any group.

    Not so where no setting of its own gives it an IOMMU.
    """
    function, facts = case.function, case.evidence.facts
    if function is None or function.iommu_group is not None:
        return False
    if not facts.can_have_iommu:
        return False
    return not case.evidence.has_groups and not _runs(case)


def _runs(case: Case) -> bool:
    return bool(known(case.evidence.facts.iommus))


def _cmdline(case: Case) -> tuple[tuple[str, ...], str]:
    """Return the kernel's arguments, and the parameter its IOMMU obeys."""
    facts = case.evidence.facts
    return known(facts.kernel_arguments) or (), iommu_arguments.parameter(
        facts
    )


def _is_still_off(case: Case) -> bool:
    """Return whether the host has no group, and no change is pending."""
    return _has_no_group(case) and not kernel_arguments.is_pending(case)


def _is_overridden(words: tuple[str, ...], off: str) -> bool:
    switches = list(iommu_arguments.switches(words, INTEL))
    return off.startswith(INTEL) and "on" in switches


def _lacks_switch(case: Case) -> bool:
    """Return whether an Intel host without groups has no switch at all."""
    words, parameter = _cmdline(case)
    if isinstance(case.evidence.facts.kernel_arguments, Unknown):
        return False
    return (
        _has_no_group(case)
        and parameter == INTEL
        and not any(iommu_arguments.switches(words, parameter))
        and iommu_arguments.turned_off_by(words, parameter) is None
    )


def _should_run(case: Case) -> bool:
    """Return whether an IOMMU is present and turned on, yet none active."""
    facts = case.evidence.facts
    words, parameter = _cmdline(case)
    tables = known(facts.acpi_tables) or frozenset()
    if isinstance(facts.kernel_arguments, Unknown) or facts.iommus != ():
        return False
    if not _has_no_group(case) or not tables & {*IOMMU_TABLES.values()}:
        return False
    if iommu_arguments.turned_off_by(words, parameter):
        return False
    return parameter != INTEL or any(
        iommu_arguments.switches(words, parameter)
    )


def _failure(case: Case) -> str | None:
    return kernel_log.first(
        case.evidence.messages, kernel_messages.IOMMU_FAILED
    )

"""The function is in no IOMMU group: firmware off, or not asked for."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import kernel_arguments
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import iommu_arguments, kernel_log
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
    INTEL_ON,
)
from gpu_passthrough_plugin.model.host_facts import IOMMU_TABLES, CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, known

ENABLE = "run 'gpu-passthrough host enable', then reboot"
_NAMES = {CpuVendor.INTEL: "VT-d", CpuVendor.AMD: "AMD-Vi (IOMMU)"}


def is_without(case: Case) -> bool:
    """Whether it is known to be in no group, as the whole host is."""
    function = case.function
    if function is None or function.iommu_group is not None:
        return False
    return not case.evidence.has_groups and not _runs(case)


def firmware_off(case: Case) -> Cause | None:
    """The firmware gives the kernel no table of an IOMMU."""
    facts = case.evidence.facts
    tables, vendor = facts.acpi_tables, facts.cpu_vendor
    is_known = not isinstance(vendor, Unknown)
    names = {
        v: t for v, t in IOMMU_TABLES.items() if v == vendor or not is_known
    }
    if not is_without(case) or not names:
        return None
    # Either maker's table will do: an emulated host mixes them.
    if not isinstance(tables, Unknown) and tables & {*IOMMU_TABLES.values()}:
        return None
    sure = Confidence.CERTAIN if is_known else Confidence.LIKELY
    shown = (
        f"/sys/firmware/acpi/tables has no {' and no '.join(names.values())}"
    )
    if isinstance(tables, Unknown):
        sure = Confidence.POSSIBLE
        shown = f"/sys/firmware/acpi/tables is unknown: {tables}"
    feature = " or ".join(_NAMES[v] for v in names)
    refused = kernel_log.first(case.messages, kernel_log.VFIO_PROBE_FAILED)
    return Cause(
        "firmware-off",
        sure,
        f"{feature} is off in the firmware: the kernel has no IOMMU to use",
        shown + (f"; {refused}" if refused else ""),
        f"turn {feature} on in the firmware's setup, then power the host off"
        " and on",
    )


def iommu_off(case: Case) -> Cause | None:
    """The kernel was told not to use it."""
    words, parameter = told(case)
    off = iommu_arguments.turned_off_by(words, parameter)
    if off is None or not _is_stopped(case) or _is_overridden(words, off):
        return None
    return Cause(
        "iommu-off",
        Confidence.CERTAIN,
        f"the kernel was started with {off}",
        f"/proc/cmdline: {kernel_arguments.word_of(words, off)}",
        f"take {off} off the kernel command line:"
        f" 'gpu-passthrough host enable' does; then reboot",
    )


def argument_overridden(case: Case) -> Cause | None:
    """It was told to, and later on the line not to."""
    words, parameter = told(case)
    off = iommu_arguments.turned_off_by(words, parameter)
    if not off or not _is_stopped(case) or not _is_overridden(words, off):
        return None
    return Cause(
        "argument-overridden",
        Confidence.CERTAIN,
        f"{INTEL_ON} is taken back by {off} later on the command line",
        f"/proc/cmdline: {kernel_arguments.word_of(words, INTEL_ON)} …"
        f" {kernel_arguments.word_of(words, off)}",
        f"take {off} off the kernel command line:"
        f" 'gpu-passthrough host enable' does; then reboot",
    )


def argument_misspelt(case: Case) -> Cause | None:
    """A word that the kernel does not know stands for the one wanted."""
    words, _ = told(case)
    typo = iommu_arguments.ineffective(words)
    if (
        typo is None
        or not _wants_switch(case)
        or kernel_arguments.is_pending(case)
    ):
        return None
    return Cause(
        "argument-misspelt",
        Confidence.CERTAIN,
        f"the kernel was started with {typo}, which it does not know",
        f"/proc/cmdline: {typo}",
        f"write {INTEL_ON} in its place: 'gpu-passthrough host enable'"
        " does; then reboot",
    )


def argument_missing(case: Case) -> Cause | None:
    """No groups, and nothing asked for them.

    Many kernels make groups without any argument, so that a missing one
    alone is no cause: the kernel must really have made none.
    """
    words, _ = told(case)
    if not _wants_switch(case) or iommu_arguments.ineffective(words):
        return None
    if kernel_arguments.is_on_its_way(case, INTEL_ON):
        return None
    facts = case.evidence.facts
    is_sure = "DMAR" in (known(facts.acpi_tables) or ()) and not isinstance(
        facts.iommus, Unknown
    )
    return Cause(
        "argument-missing",
        Confidence.LIKELY if is_sure else Confidence.POSSIBLE,
        f"the kernel made no IOMMU group, and was started without {INTEL_ON}",
        f"/proc/cmdline: {' '.join(words)}",
        ENABLE,
    )


def _runs(case: Case) -> bool:
    return bool(known(case.evidence.facts.iommus))


def told(case: Case) -> tuple[tuple[str, ...], str]:
    """What the kernel was told, and the parameter that matters."""
    facts = case.evidence.facts
    return known(facts.kernel_arguments) or (), iommu_arguments.parameter(
        facts
    )


def _is_stopped(case: Case) -> bool:
    """In no group, and nobody put that right since the boot."""
    return is_without(case) and not kernel_arguments.is_pending(case)


def _is_overridden(words: tuple[str, ...], off: str) -> bool:
    said = list(iommu_arguments.switches(words, INTEL))
    return off.startswith(INTEL) and "on" in said


def _wants_switch(case: Case) -> bool:
    """Whether it is Intel's, in no group, and not spoken of at all."""
    words, parameter = told(case)
    if isinstance(case.evidence.facts.kernel_arguments, Unknown):
        return False
    return (
        is_without(case)
        and parameter == INTEL
        and not any(iommu_arguments.switches(words, parameter))
        and iommu_arguments.turned_off_by(words, parameter) is None
    )


def iommu_driver_missing(case: Case) -> Cause | None:
    """The kernel was built without the IOMMU's driver."""
    if not _is_asked_for(case):
        return None
    line = kernel_log.first(
        case.evidence.messages, kernel_log.INTEL_IOMMU_UNKNOWN
    )
    if line is None and _failure(case):
        return None
    return Cause(
        "iommu-driver-missing",
        Confidence.CERTAIN if line else Confidence.POSSIBLE,
        "the kernel was built without the IOMMU's driver",
        line or "/sys/class/iommu is empty, and no log line says why",
        "boot the distribution's kernel, or one with CONFIG_INTEL_IOMMU or"
        " CONFIG_AMD_IOMMU",
    )


def iommu_not_started(case: Case) -> Cause | None:
    """Table and argument are there, and no unit came up."""
    if not _is_asked_for(case):
        return None
    line = _failure(case)
    return Cause(
        "iommu-not-started",
        Confidence.CERTAIN if line else Confidence.LIKELY,
        "the firmware has an IOMMU, and the kernel could not start it",
        line or "/sys/class/iommu is empty",
        "update the firmware; look for DMAR or AMD-Vi in the kernel's log",
    )


def not_covered(case: Case) -> Cause | None:
    """An IOMMU runs, and does not serve this function."""
    function = case.function
    if function is None or function.iommu_group is not None:
        return None
    running = known(case.evidence.facts.iommus) or ()
    if not running and not case.evidence.has_groups:
        return None
    shown = f"/sys/class/iommu: {', '.join(running)}"
    if not running:
        shown = "other functions are in groups"
    return Cause(
        "not-covered",
        Confidence.CERTAIN if running else Confidence.LIKELY,
        "an IOMMU runs, and none serves this function",
        f"{function.address} has no iommu_group; {shown}",
        "move the card to another slot, or leave it to the host",
    )


def _is_asked_for(case: Case) -> bool:
    """Whether the table is there, nothing speaks against it, and none runs."""
    facts = case.evidence.facts
    words, parameter = told(case)
    there = known(facts.acpi_tables) or frozenset()
    if isinstance(facts.kernel_arguments, Unknown) or facts.iommus != ():
        return False
    if not is_without(case) or not there & {*IOMMU_TABLES.values()}:
        return False
    if iommu_arguments.turned_off_by(words, parameter):
        return False
    return parameter != INTEL or any(
        iommu_arguments.switches(words, parameter)
    )


def _failure(case: Case) -> str | None:
    return kernel_log.first(case.evidence.messages, kernel_log.IOMMU_FAILED)

"""The function is in no IOMMU group, although the kernel was to make some."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis import log
from gpu_passthrough_plugin.diagnosis.causes.iommu import is_without, told
from gpu_passthrough_plugin.diagnosis.evidence import Case, Cause, Confidence
from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
)
from gpu_passthrough_plugin.model.facts import IOMMU_TABLES
from gpu_passthrough_plugin.model.reading import Unknown, known

# What a start that failed says.  Faults of functions come from an IOMMU
# that runs.
_FAILED = (
    r"^(?!.*command line).*(DMAR|AMD-Vi|iommu).*"
    r"(fail|firmware bug|broken|invalid|can(no|')t|unable|error)",
    r"(DMAR|AMD-Vi).*disabling iommu",
)


def iommu_driver_missing(case: Case) -> Cause | None:
    """The kernel was built without the IOMMU's driver.

    Source: kernel, init/main.c (print_unknown_bootoptions, from 5.14 on).
    """
    if not _is_asked_for(case):
        return None
    line = log.first(
        case.evidence,
        rf"unknown kernel command line parameters .*{INTEL}=",
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
    return log.first(case.evidence, *_FAILED)

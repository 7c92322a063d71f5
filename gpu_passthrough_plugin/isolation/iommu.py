"""Why a host has no IOMMU groups."""

from __future__ import annotations

from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
    INTEL_ON,
)
from gpu_passthrough_plugin.model.facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.reading import Unknown

RULE = "no-iommu"

FEATURE = {CpuVendor.INTEL: "VT-d", CpuVendor.AMD: "AMD-Vi (IOMMU)"}


def absence(facts: HostFacts) -> Reason:
    """The first of firmware, kernel argument and start-up that explains it."""
    return (
        _not_covered(facts)
        or _firmware(facts)
        or _switched_off(facts)
        or _not_switched_on(facts)
        or _not_started(facts)
        or Reason(
            RULE,
            "in no IOMMU group; why is unknown: the host's facts could not"
            " be read",
            "run this on the host itself as root",
        )
    )


def _not_covered(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or not facts.iommus:
        return None
    return Reason(
        RULE,
        "in no IOMMU group, although the kernel runs"
        f" {', '.join(facts.iommus)}: none of them covers this function",
        "leave it to the host, or move the card to another slot",
    )


def _firmware(facts: HostFacts) -> Reason | None:
    vendor, tables = facts.cpu_vendor, facts.acpi_tables
    if isinstance(vendor, Unknown) or isinstance(tables, Unknown):
        return None
    table = IOMMU_TABLES.get(vendor)
    # Either maker's table will do: an emulated host mixes them.
    if table is None or tables.intersection(IOMMU_TABLES.values()):
        return None
    return Reason(
        RULE,
        f"in no IOMMU group: the firmware has no {table} table",
        f"turn {FEATURE[vendor]} on in the firmware's setup",
    )


def _switched_off(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    if isinstance(words, Unknown):
        return None
    off = iommu_arguments.turned_off_by(
        words, iommu_arguments.parameter(facts)
    )
    if off is None:
        return None
    return Reason(
        RULE,
        f"in no IOMMU group: the kernel was started with {off}",
        f"take {off} off the kernel command line and reboot",
    )


def _not_switched_on(facts: HostFacts) -> Reason | None:
    words = facts.kernel_arguments
    parameter = iommu_arguments.parameter(facts)
    if isinstance(words, Unknown) or parameter != INTEL:
        return None
    if any(iommu_arguments.switches(words, parameter)):
        return None
    typo = iommu_arguments.ineffective(words)
    if typo:
        return Reason(
            RULE,
            f"in no IOMMU group: the kernel was started with {typo},"
            " which it does not know and does not complain of",
            f"write {INTEL_ON} in its place and reboot",
        )
    return Reason(
        RULE,
        f"in no IOMMU group: the kernel was started without {INTEL_ON}",
        f"add {INTEL_ON} to the kernel command line and reboot",
    )


def _not_started(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or facts.iommus:
        return None
    return Reason(
        RULE,
        "in no IOMMU group: the kernel started no IOMMU"
        " (/sys/class/iommu is empty)",
        "look for DMAR or AMD-Vi in the kernel's log, and whether the"
        " kernel was built with the IOMMU's driver",
    )

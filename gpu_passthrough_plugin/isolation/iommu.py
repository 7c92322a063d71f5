"""Why a function is in no IOMMU group: firmware, kernel argument, start-up."""

from __future__ import annotations

from gpu_passthrough_plugin.formats import iommu_arguments
from gpu_passthrough_plugin.formats.iommu_arguments import (
    INTEL,
    INTEL_ON,
)
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.host_facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.reading import Unknown

RULE = "no-iommu"
AS_ROOT = "run this on the host as root"

FEATURE = {CpuVendor.INTEL: "VT-d", CpuVendor.AMD: "AMD-Vi (IOMMU)"}


def absence(facts: HostFacts) -> Reason:
    """Return why the kernel put a function in no group, and what to do."""
    return (
        _not_covered(facts)
        or _firmware(facts)
        or _switched_off(facts)
        or _not_switched_on(facts)
        or _not_started(facts)
        or Reason(
            RULE,
            "not in an IOMMU group; the cause is unknown because the host's"
            " facts could not be read",
            AS_ROOT,
        )
    )


def _not_covered(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or not facts.iommus:
        return None
    return Reason(
        RULE,
        "not in an IOMMU group: no active IOMMU"
        f" ({', '.join(facts.iommus)}) covers this function",
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
        f"not in an IOMMU group: the firmware has no ACPI table {table}",
        f"enable {FEATURE[vendor]} in the firmware setup",
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
        f"not in an IOMMU group: the kernel was started with {off}",
        f"remove {off} from the kernel command line and reboot",
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
            f"not in an IOMMU group: the kernel was started with {typo},"
            " which it ignores without a message",
            f"replace {typo} with {INTEL_ON} on the kernel command line and"
            " reboot",
        )
    return Reason(
        RULE,
        f"not in an IOMMU group: the kernel was started without {INTEL_ON}",
        f"add {INTEL_ON} to the kernel command line and reboot",
    )


def _not_started(facts: HostFacts) -> Reason | None:
    if isinstance(facts.iommus, Unknown) or facts.iommus:
        return None
    return Reason(
        RULE,
        "not in an IOMMU group: no IOMMU is active (/sys/class/iommu is"
        " empty)",
        "search the kernel log for DMAR or AMD-Vi, and check that the kernel"
        " was built with the IOMMU's driver",
    )

"""What the kernel has to be told for each maker's IOMMU.

Source: kernel, Documentation/admin-guide/kernel-parameters.txt
(intel_iommu, amd_iommu, iommu, iommu.passthrough).
"""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.driver import IommuDriver
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.reading import Unknown

_BYPASS = Requirements(("iommu=pt",), ("iommu=nopt", "iommu.passthrough=0"))


class Intel(IommuDriver):
    """VT-d: off until it is asked for, in most kernels."""

    name = "intel"

    def claims(self, facts: HostFacts) -> str | None:
        return _claim(facts, CpuVendor.INTEL)

    def requirements(self, *, passthrough: bool) -> Requirements:
        on = Requirements(
            ("intel_iommu=on",), ("intel_iommu=off", "iommu=off")
        )
        return on | _BYPASS if passthrough else on


class Amd(IommuDriver):
    """AMD-Vi: on wherever the firmware has it, unless it is turned off.

    ``amd_iommu=on`` is nothing that the kernel takes, and does no harm.
    """

    name = "amd"

    def claims(self, facts: HostFacts) -> str | None:
        return _claim(facts, CpuVendor.AMD)

    def requirements(self, *, passthrough: bool) -> Requirements:
        on = Requirements((), ("amd_iommu=off", "iommu=off"))
        return on | _BYPASS if passthrough else on


class Arm(IommuDriver):
    """SMMU: there is nothing to turn on."""

    name = "arm"

    def claims(self, facts: HostFacts) -> str | None:
        if facts.cpu_vendor is CpuVendor.ARM:
            return "the CPU is ARM's, whose IOMMU needs no argument"
        return None

    def requirements(self, *, passthrough: bool) -> Requirements:
        # ``iommu=pt`` is x86's.
        if passthrough:
            return Requirements(
                ("iommu.passthrough=1",), ("iommu.passthrough=0",)
            )
        return Requirements()


def _claim(facts: HostFacts, vendor: CpuVendor) -> str | None:
    """The firmware's table, whoever made the CPU, or else the CPU.

    An emulated host has a CPU of one maker and an IOMMU of the other.
    """
    tables = facts.acpi_tables
    if not isinstance(tables, Unknown):
        there = [v for v, name in IOMMU_TABLES.items() if name in tables]
        if there:
            name = IOMMU_TABLES[vendor]
            return f"ACPI table {name}" if there[0] is vendor else None
    if facts.cpu_vendor is vendor:
        return f"the CPU's vendor is {vendor}"
    return None

"""Which kernel arguments the IOMMU of each vendor needs.

Source: kernel, Documentation/admin-guide/kernel-parameters.txt
(intel_iommu, amd_iommu, iommu, iommu.passthrough).
"""

from __future__ import annotations

from gpu_passthrough_plugin.enablement.driver import IommuDriver
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.host_facts import (
    IOMMU_TABLES,
    CpuVendor,
    HostFacts,
)
from gpu_passthrough_plugin.model.reading import Unknown

_BYPASS = Requirements(("iommu=pt",), ("iommu=nopt", "iommu.passthrough=0"))


class Intel(IommuDriver):
    """VT-d: in most kernels off until ``intel_iommu=on``."""

    name = "intel"

    def claims(self, facts: HostFacts) -> str | None:
        return _claim(facts, CpuVendor.INTEL)

    def requirements(self, *, passthrough: bool) -> Requirements:
        on = Requirements(
            ("intel_iommu=on",), ("intel_iommu=off", "iommu=off")
        )
        return on | _BYPASS if passthrough else on


class Amd(IommuDriver):
    """AMD-Vi: on where the firmware has it, unless it is turned off.

    The kernel ignores ``amd_iommu=on``, which does no harm.
    """

    name = "amd"

    def claims(self, facts: HostFacts) -> str | None:
        return _claim(facts, CpuVendor.AMD)

    def requirements(self, *, passthrough: bool) -> Requirements:
        on = Requirements((), ("amd_iommu=off", "iommu=off"))
        return on | _BYPASS if passthrough else on


class Arm(IommuDriver):
    """SMMU: on without any argument."""

    name = "arm"

    def claims(self, facts: HostFacts) -> str | None:
        if facts.cpu_vendor is CpuVendor.ARM:
            return "the CPU is an ARM CPU, whose IOMMU needs no argument"
        return None

    def requirements(self, *, passthrough: bool) -> Requirements:
        # x86 alone has ``iommu=pt``.
        if passthrough:
            return Requirements(
                ("iommu.passthrough=1",), ("iommu.passthrough=0",)
            )
        return Requirements()


def _claim(facts: HostFacts, vendor: CpuVendor) -> str | None:
    """Decide by the firmware's table; without any, by the CPU.

    An emulated host has a CPU of one vendor and an IOMMU of the other.
    """
    tables = facts.acpi_tables
    if not isinstance(tables, Unknown):
        vendors = [v for v, table in IOMMU_TABLES.items() if table in tables]
        if vendors:
            table = IOMMU_TABLES[vendor]
            return f"ACPI table {table}" if vendors[0] is vendor else None
    if facts.cpu_vendor is vendor:
        return f"the CPU's vendor is {vendor}"
    return None

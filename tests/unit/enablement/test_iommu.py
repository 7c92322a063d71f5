from __future__ import annotations

import pytest

from gpu_passthrough_plugin.enablement.driver import IommuDriver
from gpu_passthrough_plugin.enablement.iommu import Amd, Arm, Intel
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.isolation.values import facts

DRIVERS: tuple[IommuDriver, ...] = (Intel(), Amd(), Arm())


@pytest.mark.parametrize(
    ("vendor", "tables", "name", "evidence"),
    [
        (CpuVendor.INTEL, {"DMAR"}, "intel", "DMAR"),
        (CpuVendor.AMD, {"IVRS"}, "amd", "IVRS"),
        # An emulated host: the table says more than the CPU.
        (CpuVendor.AMD, {"DMAR"}, "intel", "DMAR"),
        (CpuVendor.INTEL, {"IVRS"}, "amd", "IVRS"),
        (CpuVendor.INTEL, set(), "intel", "CPU"),
        (CpuVendor.AMD, {"FACP"}, "amd", "CPU"),
        (CpuVendor.OTHER, {"IVRS"}, "amd", "IVRS"),
        (CpuVendor.OTHER, set(), None, ""),
        (CpuVendor.ARM, {"IORT"}, "arm", "CPU"),
    ],
)
def test_one_driver_claims_a_host(
    vendor: CpuVendor, tables: set[str], name: str | None, evidence: str
) -> None:
    host = facts(cpu_vendor=vendor, acpi_tables=frozenset(tables))
    claims = {d.name: d.claims(host) for d in DRIVERS}
    reasons = {name: reason for name, reason in claims.items() if reason}
    assert list(reasons) == ([] if name is None else [name])
    assert all(evidence in reason for reason in reasons.values())


def test_without_the_tables_the_cpu_decides() -> None:
    host = facts(cpu_vendor=CpuVendor.AMD, acpi_tables=MISSING)
    assert [bool(d.claims(host)) for d in DRIVERS] == [False, True, False]
    nothing = facts(cpu_vendor=MISSING, acpi_tables=MISSING)
    assert not any(d.claims(nothing) for d in DRIVERS)


def test_arguments_of_each_vendor() -> None:
    plain = [d.requirements(passthrough=False) for d in DRIVERS]
    assert plain == [
        Requirements(("intel_iommu=on",), ("intel_iommu=off", "iommu=off")),
        Requirements((), ("amd_iommu=off", "iommu=off")),
        Requirements(),
    ]


def test_arguments_of_a_bypass() -> None:
    intel, amd, arm = (d.requirements(passthrough=True) for d in DRIVERS)
    assert intel.arguments == ("intel_iommu=on", "iommu=pt")
    assert amd.arguments == ("iommu=pt",)
    assert arm.arguments == ("iommu.passthrough=1",)
    for requirements in (intel, amd, arm):
        assert "iommu.passthrough=0" in requirements.forbidden

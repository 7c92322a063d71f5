from __future__ import annotations

import pytest

from gpu_passthrough_plugin.enablement.driver import IommuDriver
from gpu_passthrough_plugin.enablement.iommu import Amd, Arm, Intel
from gpu_passthrough_plugin.formats.kernel_cmdline import Requirements
from gpu_passthrough_plugin.model.facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING
from tests.unit.isolation.values import facts

DRIVERS: tuple[IommuDriver, ...] = (Intel(), Amd(), Arm())


@pytest.mark.parametrize(
    ("vendor", "tables", "wanted"),
    [
        (CpuVendor.INTEL, {"DMAR"}, {"intel": "ACPI table DMAR"}),
        (CpuVendor.AMD, {"IVRS"}, {"amd": "ACPI table IVRS"}),
        # An emulated host: the table says more than the CPU.
        (CpuVendor.AMD, {"DMAR"}, {"intel": "ACPI table DMAR"}),
        (CpuVendor.INTEL, {"IVRS"}, {"amd": "ACPI table IVRS"}),
        (CpuVendor.INTEL, set(), {"intel": "the CPU's vendor is intel"}),
        (CpuVendor.AMD, {"FACP"}, {"amd": "the CPU's vendor is amd"}),
        (CpuVendor.OTHER, {"IVRS"}, {"amd": "ACPI table IVRS"}),
        (CpuVendor.OTHER, set(), {}),
        (
            CpuVendor.ARM,
            {"IORT"},
            {"arm": "the CPU is ARM's, whose IOMMU needs no argument"},
        ),
    ],
)
def test_one_driver_claims_a_host(
    vendor: CpuVendor, tables: set[str], wanted: dict[str, str]
) -> None:
    here = facts(cpu_vendor=vendor, acpi_tables=frozenset(tables))
    claims = {d.name: d.claims(here) for d in DRIVERS}
    assert {k: v for k, v in claims.items() if v} == wanted


def test_without_the_tables_the_cpu_decides() -> None:
    here = facts(cpu_vendor=CpuVendor.AMD, acpi_tables=MISSING)
    assert [bool(d.claims(here)) for d in DRIVERS] == [False, True, False]
    nothing = facts(cpu_vendor=MISSING, acpi_tables=MISSING)
    assert not any(d.claims(nothing) for d in DRIVERS)


def test_what_each_needs() -> None:
    plain = [d.requirements(passthrough=False) for d in DRIVERS]
    assert plain == [
        Requirements(("intel_iommu=on",), ("intel_iommu=off", "iommu=off")),
        Requirements((), ("amd_iommu=off", "iommu=off")),
        Requirements(),
    ]


def test_what_bypassing_needs() -> None:
    intel, amd, arm = (d.requirements(passthrough=True) for d in DRIVERS)
    assert intel.arguments == ("intel_iommu=on", "iommu=pt")
    assert amd.arguments == ("iommu=pt",)
    assert arm.arguments == ("iommu.passthrough=1",)
    for wanted in (intel, amd, arm):
        assert "iommu.passthrough=0" in wanted.forbidden

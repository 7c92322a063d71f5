from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin.diagnosis import readiness
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import audio, facts, gpu, judged

LOST = Unknown(Why.UNREADABLE, "Permission denied")
CARD = judged(gpu(), audio())
BMC = judged(gpu(vendor_id=0x1A03, product_id=0x2000))
NIC = judged(gpu(class_code=0x020000))


def found(*groups: Group, **fields: Any) -> dict[str, Finding]:
    findings = readiness.findings(facts(**fields), groups)
    assert [f.check for f in findings] == [
        "firmware", "iommu", "groups", "assignable",
    ]  # fmt: skip
    assert all(
        bool(f.remedy) == (f.status is not Status.PASS) for f in findings
    )
    return {f.check: f for f in findings}


def test_a_host_that_is_ready() -> None:
    checks = found(CARD, BMC, NIC)
    assert {f.status for f in checks.values()} == {Status.PASS}
    assert checks["firmware"].detail == "ACPI table DMAR"
    assert checks["iommu"].detail == "the kernel runs dmar0"
    assert checks["groups"].detail == "3 IOMMU groups"
    assert checks["assignable"].detail == (
        "1 of 2 groups that hold a selected function"
    )


def test_firmware() -> None:
    none = found(CARD, acpi_tables=frozenset({"FACP"}))["firmware"]
    assert none.status is Status.FAIL
    assert "no ACPI table DMAR" in none.detail
    assert "VT-d" in none.remedy
    amd = found(
        CARD, cpu_vendor=CpuVendor.AMD, acpi_tables=frozenset({"FACP"})
    )["firmware"]
    assert (amd.status, "IVRS" in amd.detail) == (Status.FAIL, True)
    mixed = found(CARD, cpu_vendor=CpuVendor.AMD)["firmware"]
    assert mixed.detail == "ACPI table DMAR"
    arm = found(CARD, cpu_vendor=CpuVendor.ARM)["firmware"]
    assert arm.status is Status.PASS
    for fields, detail in (
        ({"cpu_vendor": LOST}, f"unknown: CPU vendor {LOST}"),
        ({"acpi_tables": LOST}, f"unknown: ACPI tables {LOST}"),
    ):
        lost = found(CARD, **fields)["firmware"]
        assert (lost.status, lost.detail) == (Status.WARN, detail)


def test_iommu() -> None:
    none = found(CARD, iommus=())["iommu"]
    assert none.status is Status.FAIL
    assert "intel_iommu=on" in none.remedy
    assert found(CARD, iommus=LOST)["iommu"].status is Status.WARN


def test_no_groups_have_the_first_reason() -> None:
    here = facts(iommus=(), kernel_arguments=("intel_opmmu=on",))
    alone = judged(gpu(iommu_group=None), facts=here)
    groups = found(alone)["groups"]
    assert groups.status is Status.FAIL
    assert "intel_opmmu=on" in groups.detail
    assert "intel_iommu=on" in groups.remedy
    nothing = found()["groups"]
    assert nothing.detail == "no PCI function is in an IOMMU group"


def test_nothing_assignable() -> None:
    for groups, detail in (((BMC, NIC), "0 of 1"), ((NIC,), "0 of 0")):
        finding = found(*groups)["assignable"]
        assert finding.status is Status.FAIL
        assert finding.detail.startswith(detail)
        assert "group list" in finding.remedy

from __future__ import annotations

from typing import Any

import pytest

from gpu_passthrough_plugin.diagnosis import readiness
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import (
    audio,
    facts,
    function,
    gpu,
    judged,
)

LOST = Unknown(Why.UNREADABLE, "Permission denied")
CARD = judged(gpu(), audio())
BMC = judged(gpu(vendor_id=0x1A03, product_id=0x2000))
NIC = judged(gpu(class_code=0x020000))


def checks(*groups: Group, **fields: Any) -> dict[str, Finding]:
    findings = readiness.findings(facts(**fields), groups)
    assert [f.check for f in findings] == [
        "firmware", "iommu", "groups", "assignable",
    ]  # fmt: skip
    assert all(
        bool(f.remedy) == (f.status is not Status.PASS) for f in findings
    )
    return {f.check: f for f in findings}


def test_a_host_that_is_ready() -> None:
    ready = checks(CARD, BMC, NIC)
    assert {f.status for f in ready.values()} == {Status.PASS}
    assert "DMAR" in ready["firmware"].detail
    assert "dmar0" in ready["iommu"].detail
    assert "3" in ready["groups"].detail
    assert "1 of 2" in ready["assignable"].detail


def test_cards_with_a_known_reset_fault() -> None:
    """amd/MxGPU-Virtualization#25, and AMD's reset bug: one line a family."""
    instinct = judged(gpu(vendor_id=0x1002, product_id=0x74A1))
    polaris = judged(gpu("07:00.0", vendor_id=0x1002, product_id=0x67DF))
    again = judged(gpu("08:00.0", vendor_id=0x1002, product_id=0x67DF))
    *_, first, second = readiness.findings(
        facts(), (instinct, CARD, polaris, again)
    )
    assert {first.check, second.check} == {"reset"}
    assert {first.status, second.status} == {Status.WARN}
    assert "until the host reboots" in first.detail
    assert "07:00.0, 0000:08:00.0" in second.detail
    assert "vendor-reset" in second.remedy


def test_firmware() -> None:
    lacks = {"acpi_tables": frozenset({"FACP"}), "iommus": ()}
    none = checks(CARD, **lacks)["firmware"]
    assert none.status is Status.FAIL
    assert "DMAR" in none.detail
    assert "VT-d" in none.remedy
    amd = checks(CARD, cpu_vendor=CpuVendor.AMD, **lacks)["firmware"]
    assert (amd.status, "IVRS" in amd.detail) == (Status.FAIL, True)
    mixed = checks(CARD, cpu_vendor=CpuVendor.AMD)["firmware"]
    assert (mixed.status, "DMAR" in mixed.detail) == (Status.PASS, True)
    arm = checks(CARD, cpu_vendor=CpuVendor.ARM)["firmware"]
    assert arm.status is Status.PASS
    for fields, name in (
        ({"cpu_vendor": LOST}, "CPU vendor"),
        ({"acpi_tables": LOST}, "ACPI tables"),
    ):
        lost = checks(CARD, iommus=(), **fields)["firmware"]
        assert lost.status is Status.WARN
        assert name in lost.detail and str(LOST) in lost.detail


def test_iommu() -> None:
    off = {"iommus": (), "kernel_arguments": ()}
    alone = judged(gpu(iommu_group=None), facts=facts(**off))
    none = checks(alone, **off)["iommu"]
    assert none.status is Status.FAIL
    assert "intel_iommu=on" in none.remedy
    arm = off | {"cpu_vendor": CpuVendor.ARM, "board": "Raspberry Pi 5",
                 "acpi_tables": frozenset({"IORT"})}  # fmt: skip
    alone = judged(gpu(iommu_group=None), facts=facts(**arm))
    for finding in checks(alone, **arm).values():
        for word in ("intel_iommu", "DMAR", "AMD-Vi", "VT-d"):
            assert word not in finding.remedy


def test_an_active_iommu_proves_the_firmware() -> None:
    """VIOT or a device tree, or a pod that sees no ACPI tables."""
    for tables in (frozenset({"VIOT"}), frozenset(), LOST):
        for vendor in CpuVendor:
            found = checks(
                CARD,
                acpi_tables=tables,
                cpu_vendor=vendor,
                iommus=("virtio0",),
            )["firmware"]
            assert found.status is Status.PASS


def test_a_virtual_machine_is_told_so() -> None:
    guest = {"hypervisor": "Amazon EC2", "iommus": (),
             "acpi_tables": frozenset({"FACP"})}  # fmt: skip
    alone = judged(gpu(iommu_group=None), facts=facts(**guest))
    found = checks(alone, **guest)
    assert "Amazon EC2" in found["firmware"].detail
    assert "physical machine" in found["firmware"].remedy
    assert "VT-d" not in found["iommu"].remedy


def test_what_cannot_be_read_of_an_iommu() -> None:
    assert checks(CARD, iommus=LOST)["iommu"].status is Status.WARN


def test_no_groups_have_the_first_reason() -> None:
    here = facts(iommus=(), kernel_arguments=("intel_opmmu=on",))
    alone = judged(gpu(iommu_group=None), facts=here)
    groups = checks(alone)["groups"]
    assert groups.status is Status.FAIL
    assert "intel_opmmu=on" in groups.detail
    assert "intel_iommu=on" in groups.remedy
    assert checks()["groups"].status is Status.FAIL


def test_nothing_assignable() -> None:
    for groups, detail in (((BMC, NIC), "0 of 1"), ((NIC,), "0 of 0")):
        finding = checks(*groups)["assignable"]
        assert finding.status is Status.FAIL
        assert detail in finding.detail
        assert "group list" in finding.remedy


def test_what_looks_like_a_gpu_and_is_not_selected_is_named() -> None:
    npu = function("00:0b.0", "8086:7d1d", 0x120000)
    found = checks(CARD, judged(npu))["assignable"]
    assert found.status is Status.PASS
    assert "not selected: 0000:00:0b.0" in found.detail


def test_a_fabric_of_nvlink() -> None:
    def judged_switch(driver: str) -> Group:
        return judged(
            function("05:00.0", "10de:22a3", 0x068000, driver=driver)
        )

    for driver, status in (
        ("nvidia-nvswitch", Status.PASS),
        ("vfio-pci", Status.WARN),
    ):
        groups = (CARD, judged_switch(driver))
        *_, found = readiness.findings(facts(), groups)
        assert (found.check, found.status) == ("fabric", status)
        assert "1 NVSwitch (third generation: 0000:05:00.0)" in found.detail
        assert "0 GPUs" in found.detail


@pytest.mark.parametrize(
    ("mode", "vgpu", "status", "remedy"),
    [
        (None, 0, Status.PASS, ""),
        (LOST, 0, Status.PASS, ""),
        (1, 0, Status.PASS, ""),
        (0, 0, Status.WARN, "FABRIC_MODE=1"),
        # NVIDIA/gpu-operator#2923: error 802 in a guest with one vGPU.
        (0, 558, Status.WARN, "FABRIC_MODE=2"),
        (1, 558, Status.WARN, "FABRIC_MODE=2"),
        (2, 558, Status.PASS, ""),
    ],
)
def test_what_fabric_manager_is_configured_for(
    mode: int | Unknown | None, vgpu: int, status: Status, remedy: str
) -> None:
    functions = [
        function("05:00.0", "10de:22a3", 0x068000, driver="nvidia-nvswitch"),
        *(
            function(f"{bus}:00.0", "10de:2335", 0x030200, iommu_group=bus)
            for bus in (18, 40)
        ),
    ]
    carries = {"18:00.0": {"vgpu_type": vgpu}}
    groups = [judged(each, details=carries) for each in functions]
    *_, found = readiness.findings(facts(fabric_mode=mode), groups)
    assert (found.check, found.status) == ("fabric", status)
    assert "2 GPUs (0000:18:00.0, 0000:40:00.0)" in found.detail
    assert remedy in found.remedy


def test_a_virtual_machine_whose_firmware_has_an_iommu() -> None:
    found = checks(CARD, hypervisor="QEMU", iommus=())["firmware"]
    assert (found.status, found.detail) == (Status.PASS, "ACPI table DMAR")


def test_a_function_on_vfio_pci_proves_that_it_is_loaded() -> None:
    on_vfio = judged(audio(), gpu(driver="vfio-pci"))
    for is_available in (LOST, True, False):
        finding = readiness.vfio(False, is_available, (NIC, on_vfio))
        assert finding.status is Status.PASS
        assert "0000:06:00.0" in finding.detail
    other = judged(gpu(driver="nvgrace_gpu_vfio_pci"), audio())
    assert readiness.vfio(False, LOST, (other,)).status is Status.WARN
    assert readiness.vfio(False, False, (other,)).status is Status.FAIL

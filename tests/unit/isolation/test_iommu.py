"""Why a function is in no group: a cause is told by what it names."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_passthrough_plugin.isolation import iommu
from gpu_passthrough_plugin.model.group import Reason
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.unit.isolation.values import facts

LOST = Unknown(Why.UNREADABLE, "Permission denied")
AMD = {
    "cpu_vendor": CpuVendor.AMD,
    "acpi_tables": frozenset({"IVRS"}),
    "kernel_arguments": ("quiet",),
}


def absence(**fields: Any) -> Reason:
    reason = iommu.absence(facts(**{"iommus": (), **fields}))
    assert reason.rule == "no-iommu"
    return reason


def arguments(*words: str, **fields: Any) -> Reason:
    return absence(kernel_arguments=("quiet", *words), **fields)


def is_switched_off(reason: Reason, word: str) -> bool:
    return f"with {word}" in reason.text and f"remove {word} " in reason.remedy


def is_not_switched_on(reason: Reason) -> bool:
    return reason.remedy.startswith("add intel_iommu=on ")


def is_not_started(reason: Reason) -> bool:
    """No cause is known but that the kernel started none."""
    return "/sys/class/iommu is empty" in reason.text


def is_unknown(reason: Reason) -> bool:
    return "unknown" in reason.text and reason.remedy == iommu.AS_ROOT


def test_firmware_without_the_table_comes_first() -> None:
    reason = absence(acpi_tables=frozenset({"FACP"}))
    assert "DMAR" in reason.text
    assert "VT-d" in reason.remedy
    reason = absence(**AMD | {"acpi_tables": frozenset({"FACP"})})
    assert "IVRS" in reason.text
    assert "AMD-Vi" in reason.remedy
    assert "DMAR" in absence(acpi_tables=frozenset(), kernel_arguments=()).text


def test_a_typo_is_named() -> None:
    reason = arguments("intel_opmmu=on")
    assert "with intel_opmmu=on," in reason.text
    assert "replace intel_opmmu=on with intel_iommu=on" in reason.remedy


@pytest.mark.parametrize("word", ["", "iommu=pt", "amd_iommu=on", "igfx_off"])
def test_an_argument_that_is_not_there_is_asked_for(word: str) -> None:
    assert is_not_switched_on(arguments(word))


def test_what_switches_it_off_is_named() -> None:
    for word in ("intel_iommu=off", "iommu=off"):
        assert is_switched_off(arguments("intel_iommu=on", word), word)
    assert is_switched_off(arguments("iommu=pt,off"), "iommu=off")
    amd = absence(**AMD | {"kernel_arguments": ("quiet", "amd_iommu=off")})
    assert is_switched_off(amd, "amd_iommu=off")


def test_the_last_switch_counts_and_options_are_lists() -> None:
    assert is_not_started(arguments("intel_iommu=off", "intel_iommu=on"))
    assert is_not_started(arguments("intel_iommu=on,sm_on"))
    assert is_not_started(arguments("intel_iommu=sm_on,on"))
    assert is_switched_off(arguments("intel_iommu=on,off"), "intel_iommu=off")


def test_another_vendors_switch_is_no_cause() -> None:
    words = ("quiet", "intel_iommu=off")
    assert is_not_started(absence(**AMD | {"kernel_arguments": words}))
    assert is_not_started(arguments("intel_iommu=on", "amd_iommu=off"))
    assert is_not_started(absence(**AMD))


def test_an_iommu_that_runs_does_not_cover_the_function() -> None:
    reason = absence(iommus=("dmar0", "dmar1"), kernel_arguments=())
    assert "(dmar0, dmar1)" in reason.text


def test_what_could_not_be_read_explains_nothing() -> None:
    assert is_not_started(absence(cpu_vendor=LOST))
    assert is_not_started(absence(acpi_tables=LOST))
    assert is_not_started(absence(kernel_arguments=LOST))
    assert is_not_started(absence(cpu_vendor=CpuVendor.ARM))
    assert is_unknown(absence(iommus=LOST))
    nothing = dict.fromkeys(
        ("cpu_vendor", "acpi_tables", "kernel_arguments", "iommus"), LOST
    )
    assert is_unknown(absence(**nothing))


def test_the_firmwares_table_chooses_the_parameter() -> None:
    mixed = {"cpu_vendor": CpuVendor.AMD, "acpi_tables": frozenset({"DMAR"})}
    off = absence(**mixed | {"kernel_arguments": ("intel_iommu=off",)})
    assert is_switched_off(off, "intel_iommu=off")
    other_off = {"kernel_arguments": ("amd_iommu=off",)}
    assert is_not_switched_on(absence(**mixed | other_off))
    ivrs = {"acpi_tables": frozenset({"IVRS"})}
    assert is_switched_off(absence(**ivrs | other_off), "amd_iommu=off")


def test_what_is_never_taken_back() -> None:
    words = ("amd_iommu=off", "amd_iommu=on")
    amd = absence(**AMD | {"kernel_arguments": words})
    assert is_switched_off(amd, "amd_iommu=off")
    assert is_switched_off(arguments("iommu=off", "iommu=pt"), "iommu=off")


def test_a_virtual_machine_without_an_iommu() -> None:
    for name in ("Amazon EC2", "Microsoft Hyper-V"):
        reason = absence(hypervisor=name, acpi_tables=frozenset({"FACP"}))
        assert f"virtual machine ({name})" in reason.text
        assert "physical machine" in reason.remedy
    dom0 = absence(hypervisor="Xen's control domain (dom0)")
    assert "xen-pciback" in dom0.remedy
    assert "virtual machine" not in dom0.text


def test_no_advice_of_x86_elsewhere() -> None:
    for fields in (
        {"cpu_vendor": CpuVendor.ARM, "acpi_tables": frozenset({"IORT"})},
        {"cpu_vendor": CpuVendor.ARM, "acpi_tables": LOST,
         "board": "Raspberry Pi 5 Model B"},
        {"cpu_vendor": CpuVendor.ARM, "iommus": ("fdb50800.iommu",)},
        {"cpu_vendor": CpuVendor.OTHER, "acpi_tables": frozenset()},
    ):  # fmt: skip
        reason = absence(**fields)
        shown = f"{reason.text} {reason.remedy}"
        for word in ("intel_iommu", "DMAR", "AMD-Vi", "VT-d"):
            assert word not in shown
        assert str(fields.get("board", "")) in shown


def test_the_log_is_searched_for_the_vendors_word() -> None:
    assert "DMAR" not in absence(**AMD).remedy
    assert "AMD-Vi" in absence(**AMD).remedy


def test_a_virtual_machine_with_an_iommu_that_is_off() -> None:
    """As an emulated host before it is enabled: its argument is the cause."""
    reason = arguments("intel_iommu=off", hypervisor="QEMU")
    assert is_switched_off(reason, "intel_iommu=off")
    assert is_not_switched_on(arguments(hypervisor="QEMU"))

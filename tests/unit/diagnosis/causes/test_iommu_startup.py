from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.causes import catalogue, iommu_startup
from tests.unit.diagnosis.build import (
    LOST,
    UNGROUPED,
    Fields,
    case,
    cause,
    confidence,
    member,
    names,
    told,
    ungrouped,
)
from tests.unit.isolation.values import facts, gpu


def test_firmware_of_an_unknown_maker_or_unknown_tables() -> None:
    both = cause(
        iommu_startup.firmware_off,
        ungrouped(acpi_tables=frozenset({"FACP"}), cpu_vendor=LOST),
    )
    assert both.confidence == "likely"
    assert "VT-d" in both.text and "AMD-Vi" in both.text
    assert "DMAR" in both.evidence and "IVRS" in both.evidence
    assert (
        confidence(iommu_startup.firmware_off, ungrouped(acpi_tables=LOST))
        == "possible"
    )


def test_a_missing_argument_of_which_not_all_is_known() -> None:
    quiet: Fields = {"kernel_arguments": ("quiet",)}
    rule = iommu_startup.argument_missing
    assert confidence(rule, ungrouped(**quiet)) == "likely"
    assert confidence(rule, ungrouped(**quiet, acpi_tables=LOST)) == "possible"
    assert confidence(rule, ungrouped(**quiet, iommus=LOST)) == "possible"
    assert confidence(rule, ungrouped(**quiet, iommus=("dmar0",))) == ""


def test_without_a_line_of_the_log_the_start_is_only_guessed_at() -> None:
    silent = case(*UNGROUPED, **told("intel_iommu=on"))
    assert names(catalogue.causes(silent))[:2] == [
        "iommu-not-started",
        "iommu-driver-missing",
    ]
    assert confidence(iommu_startup.iommu_not_started, silent) == "likely"
    assert confidence(iommu_startup.iommu_driver_missing, silent) == "possible"
    off = case(*UNGROUPED, **told("intel_iommu=on", "iommu=off"))
    assert confidence(iommu_startup.iommu_not_started, off) == ""


def test_other_functions_groups_show_that_an_iommu_runs() -> None:
    other = member(gpu("82:00.0", iommu_group=7))
    mixed = case(*UNGROUPED, other, facts=facts(iommus=LOST))
    assert confidence(iommu_startup.not_covered, mixed) == "likely"

"""Groups of a host whose IOMMU is off yet."""

from __future__ import annotations

from gpu_passthrough_plugin.isolation import partition, verdict
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.function import Function
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import HostUse
from tests.unit.isolation.values import (
    GPUS,
    audio,
    detail,
    facts,
    function,
    gpu,
    port,
    rules,
)

OFF = facts(acpi_tables=frozenset({"FACP"}), iommus=())


def prospective(
    *functions: Function, policy: Policy = GPUS, uses: tuple[HostUse, ...] = ()
) -> list[Group]:
    details = {f.address: detail(f) for f in functions}
    return [
        verdict.judge_predicted(
            partition.detailed(part, details), OFF._replace(uses=uses), policy
        )
        for part in partition.predicted_parts(
            partition.parts(functions, policy)
        )
    ]


def test_the_functions_of_a_card_are_taken_for_a_group() -> None:
    groups = prospective(
        port(iommu_group=None),
        gpu(iommu_group=None),
        audio(iommu_group=None),
        gpu("07:00.0", iommu_group=None),
        audio("07:00.1", iommu_group=None),
    )
    fit = [g for g in groups if g.verdict.is_assignable]
    assert [[str(m.address)[5:] for m in g.endpoints] for g in fit] == [
        ["06:00.0", "06:00.1"],
        ["07:00.0", "07:00.1"],
    ]
    assert [rules(g) for g in groups if g not in fit] == [["no-primary"]]


def test_the_kernels_groups_stay_as_they_are() -> None:
    (group,) = prospective(gpu(), audio("07:00.1"))
    assert group.number == 1
    assert rules(group) == ["not-selected"]


def test_what_the_host_needs_is_kept_all_the_same() -> None:
    disk = function("06:00.2", "144d:a80a", 0x010802, iommu_group=None)
    (group,) = prospective(
        gpu(iommu_group=None),
        disk,
        uses=(HostUse(disk.address, "mount / (/dev/nvme0n1p1)"),),
    )
    assert rules(group) == ["host-critical"]


def test_a_bmc_display_is_kept_all_the_same() -> None:
    bmc = function("0a:03.0", "102b:0532", 0x030000, iommu_group=None)
    policy = Policy((selector.parse("102b:*"),))
    (group,) = prospective(bmc, policy=policy)
    assert rules(group) == ["bmc-display"]

"""Which functions are taken, and what is said of those that are not."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import targets
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import Use
from tests.unit.isolation.values import audio, facts, function, gpu, judged


def policy(*texts: str) -> Policy:
    return Policy(tuple(map(selector.parse, texts)))


def card(slot: str, group: int, of: Policy) -> Group:
    return judged(
        gpu(f"{slot}.0", iommu_group=group, driver="nouveau"),
        audio(f"{slot}.1", iommu_group=group, driver="snd_hda_intel"),
        policy=of,
        details={f"{slot}.0": {"modules": ("nouveau", "nvidia-drm")}},
    )


def addresses(selection: targets.Selection) -> list[str]:
    return [str(t.address)[5:] for t in selection.targets]


def test_a_card_goes_with_all_its_functions() -> None:
    of = policy("06:00.0")
    found = targets.selection(
        [card("06:00", 1, of), card("07:00", 2, of)], of.select
    )
    assert addresses(found) == ["06:00.0", "06:00.1"]
    assert [t.is_primary for t in found.targets] == [True, False]
    assert [t.ids for t in found.targets] == ["10de:1430", "10de:0fba"]
    assert found.skipped == ()


def test_competitors_are_what_offers_itself_and_what_is_bound() -> None:
    of = policy("class=03")
    found = targets.selection([card("06:00", 1, of)], of.select)
    assert found.targets[0].modules == ("nouveau", "nvidia_drm")
    assert found.targets[1].modules == ("snd_hda_intel",)


def test_vfio_is_no_competitor() -> None:
    of = policy("class=03")
    group = judged(
        gpu(driver="vfio-pci"),
        policy=of,
        details={"06:00.0": {"modules": ("vfio_pci", "nouveau")}},
    )
    found = targets.selection([group], of.select)
    assert found.targets[0].modules == ("nouveau",)


def test_a_pattern_leaves_what_the_host_needs() -> None:
    of = policy("class=03")
    bmc = judged(
        function("0a:03.0", "102b:0532", 0x030000, iommu_group=9), policy=of
    )
    found = targets.selection([card("06:00", 1, of), bmc], of.select)
    assert addresses(found) == ["06:00.0", "06:00.1"]
    (line,) = found.skipped
    assert line.startswith("0000:0a:03.0 ")


def test_a_card_that_is_named_and_critical_is_refused() -> None:
    of = policy("06:00.0", "07:00.0")
    disk = function("07:00.2", "144d:a80a", 0x010802, iommu_group=2)
    critical = judged(
        gpu("07:00.0", iommu_group=2),
        disk,
        policy=of,
        facts=facts(uses=(Use(disk.address, "mount / (/dev/sda2)"),)),
    )
    with pytest.raises(errors.Refused) as refused:
        targets.selection([card("06:00", 1, of), critical], of.select)
    said = str(refused.value)
    assert said.startswith("07:00.0 ")
    assert "group 2 " in said
    assert "the host needs 0000:07:00.2 for mount / (/dev/sda2)" in said


def test_what_selects_nothing_is_refused() -> None:
    of = policy("06:00.0", "1002:*")
    with pytest.raises(errors.Refused) as refused:
        targets.selection([card("06:00", 1, of)], of.select)
    assert str(refused.value).startswith("1002:* ")


def test_reasons_of_one_remedy_are_told_together() -> None:
    of = policy("07:00.0")
    disks = [
        function(f"07:00.{n}", "144d:a80a", 0x010802, iommu_group=2)
        for n in (2, 3)
    ]
    critical = judged(
        gpu("07:00.0", iommu_group=2),
        *disks,
        policy=of,
        facts=facts(
            uses=tuple(
                Use(disk.address, f"mount /{disk.address.function}")
                for disk in disks
            )
        ),
    )
    (line,) = targets.selection([critical], ()).skipped
    (remedy,) = {reason.remedy for reason in critical.verdict.reasons}
    assert line.count(remedy) == 1
    for disk in disks:
        assert f"{disk.address}" in line

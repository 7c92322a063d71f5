"""Which functions are taken, and what is said of those that are not."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import targets
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.group import Group
from gpu_passthrough_plugin.model.host_facts import HostUse
from tests.unit.isolation.values import (
    audio,
    facts,
    function,
    gpu,
    judged,
    port,
)


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


def test_every_function_of_a_card_is_a_target() -> None:
    of = policy("06:00.0")
    selection = targets.selection(
        [card("06:00", 1, of), card("07:00", 2, of)], of.select
    )
    assert addresses(selection) == ["06:00.0", "06:00.1"]
    assert [t.is_primary for t in selection.targets] == [True, False]
    assert [t.ids for t in selection.targets] == ["10de:1430", "10de:0fba"]
    assert selection.skipped == ()


def test_a_selector_of_bridges_is_told_so() -> None:
    of = policy("00:02.0")
    group = judged(port(), policy=of)
    with pytest.raises(errors.Refused, match=r"only 0000:00:02\.0, which"):
        targets.selection([group], of.select)
    none = policy("09:00.0")
    with pytest.raises(errors.Refused, match="selects no function"):
        targets.selection([group], none.select)


def test_a_selector_of_a_device_is_told_why_that_stays() -> None:
    """Not that it selects only bridges, nor nothing at all."""
    of = policy("06:00.0")
    alone = judged(gpu(), policy=of, facts=facts(iommus=()))
    with pytest.raises(errors.Refused, match="cannot be assigned") as caught:
        targets.selection([alone], of.select)
    assert "selects" not in str(caught.value)


def test_modules_of_a_target_match_it_or_are_bound() -> None:
    of = policy("class=03")
    selection = targets.selection([card("06:00", 1, of)], of.select)
    assert selection.targets[0].modules == ("nouveau", "nvidia_drm")
    assert selection.targets[1].modules == ("snd_hda_intel",)


def test_vfio_is_not_among_the_modules() -> None:
    of = policy("class=03")
    group = judged(
        gpu(driver="vfio-pci"),
        policy=of,
        details={"06:00.0": {"modules": ("vfio_pci", "nouveau")}},
    )
    selection = targets.selection([group], of.select)
    assert selection.targets[0].modules == ("nouveau",)


def test_a_pattern_skips_what_the_host_needs() -> None:
    of = policy("class=03")
    bmc = judged(
        function("0a:03.0", "102b:0532", 0x030000, iommu_group=9), policy=of
    )
    selection = targets.selection([card("06:00", 1, of), bmc], of.select)
    assert addresses(selection) == ["06:00.0", "06:00.1"]
    (line,) = selection.skipped
    assert line.startswith("0000:0a:03.0 ")


def test_a_required_selector_of_a_critical_card_is_refused() -> None:
    of = policy("06:00.0", "07:00.0")
    disk = function("07:00.2", "144d:a80a", 0x010802, iommu_group=2)
    critical = judged(
        gpu("07:00.0", iommu_group=2),
        disk,
        policy=of,
        facts=facts(uses=(HostUse(disk.address, "mount / (/dev/sda2)"),)),
    )
    with pytest.raises(errors.Refused) as refused:
        targets.selection([card("06:00", 1, of), critical], of.select)
    said = str(refused.value)
    assert said.startswith("07:00.0 ")
    assert "group 2 " in said
    assert "the host needs 0000:07:00.2 for mount / (/dev/sda2)" in said


def test_a_selector_without_a_match_is_refused() -> None:
    of = policy("06:00.0", "1002:*")
    with pytest.raises(errors.Refused) as refused:
        targets.selection([card("06:00", 1, of)], of.select)
    assert str(refused.value).startswith("1002:* ")


def test_reasons_with_one_remedy_are_shown_together() -> None:
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
                HostUse(disk.address, f"mount /{disk.address.function}")
                for disk in disks
            )
        ),
    )
    (line,) = targets.selection([critical], ()).skipped
    (remedy,) = {reason.remedy for reason in critical.verdict.reasons}
    assert line.count(remedy) == 1
    for disk in disks:
        assert f"{disk.address}" in line

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import iommu_arguments


@pytest.mark.parametrize(
    "word",
    [
        "intel_opmmu=on",
        "intel_iommu",
        "intel_iommu=1",
        "intel_iommu=ON",
        "intel_iomu=on",
        "intel_ioommu=on",
        "intl_iomu=on",
        "iommu=on",
        "iommu=1",
    ],
)
def test_what_was_to_turn_it_on(word: str) -> None:
    assert iommu_arguments.ineffective(("quiet", word)) == word


@pytest.mark.parametrize(
    "word",
    [
        "intel_iommu=on",
        "intel-iommu=on",
        "intel_iommu=off",
        "intel_iommu=sm_on",
        "intel_iommu=on,sm_on",
        "amd_iommu=on",
        "iommu=pt",
        "iommu.passthrough=1",
        "intel_pstate=on",
        "intel_idle.max_cstate=1",
    ],
)
def test_what_the_kernel_knows_is_no_mistake(word: str) -> None:
    assert iommu_arguments.ineffective((word,)) is None


def test_a_hyphen_is_an_underscore_to_the_kernel() -> None:
    assert list(
        iommu_arguments.switches(
            ("intel-iommu=sm_on,off",), iommu_arguments.INTEL
        )
    ) == ["off"]
    assert list(iommu_arguments.switches(("quiet=on",), "")) == []


def test_what_turns_it_off() -> None:
    assert iommu_arguments.turned_off_by(
        ("intel_iommu=on,off",), iommu_arguments.INTEL
    ) == ("intel_iommu=off")
    back = ("intel_iommu=off", "intel_iommu=on")
    assert iommu_arguments.turned_off_by(back, iommu_arguments.INTEL) is None
    assert (
        iommu_arguments.turned_off_by(
            ("amd_iommu=off",), iommu_arguments.INTEL
        )
        is None
    )
    assert iommu_arguments.turned_off_by(("iommu=pt,off",), "") == "iommu=off"


@pytest.mark.parametrize("word", ["nointremap", "intremap=nosid,off"])
def test_what_turns_interrupt_remapping_off(word: str) -> None:
    off = iommu_arguments.interrupt_remapping_off
    assert off(("intremap=on", word)) == word
    assert off(("intremap=on", "nointremap2", "--", word)) is None

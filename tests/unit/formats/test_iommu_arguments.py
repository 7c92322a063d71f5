from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import iommu_arguments as iommu


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
    assert iommu.misspelt(("quiet", word)) == word


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
    assert iommu.misspelt((word,)) is None


def test_a_hyphen_is_an_underscore_to_the_kernel() -> None:
    assert list(iommu.switches(("intel-iommu=sm_on,off",), iommu.INTEL)) == [
        "off"
    ]
    assert list(iommu.switches(("quiet=on",), "")) == []


def test_what_turns_it_off() -> None:
    assert iommu.turned_off(("intel_iommu=on,off",), iommu.INTEL) == (
        "intel_iommu=off"
    )
    back = ("intel_iommu=off", "intel_iommu=on")
    assert iommu.turned_off(back, iommu.INTEL) is None
    assert iommu.turned_off(("amd_iommu=off",), iommu.INTEL) is None
    assert iommu.turned_off(("iommu=pt,off",), "") == "iommu=off"

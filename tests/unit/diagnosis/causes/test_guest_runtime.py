from __future__ import annotations

import pytest

from gpu_passthrough_plugin.diagnosis.causes import guest_runtime
from gpu_passthrough_plugin.diagnosis.evidence import Cause
from gpu_passthrough_plugin.model.group import Member
from tests.unit.diagnosis.build import (
    RELEASE,
    bound,
    case,
    cause,
    conf,
    member,
)
from tests.unit.isolation.values import audio, facts, gpu, port


@pytest.mark.parametrize(
    "text",
    [
        "options vfio_pci allow_unsafe_interrupts=1",
        "softdep vfio_iommu_type1 allow_unsafe_interrupts=1",
        "options vfio_iommu_type1 allow_unsafe_interrupts=0",
    ],
)
def test_what_does_not_allow_unsafe_interrupts(text: str) -> None:
    told = facts(kernel_arguments=("nointremap",), kernel_release=RELEASE)
    unsafe = cause(
        guest_runtime.interrupt_remapping,
        case(*bound(), facts=told, **conf(text)),
    )
    assert unsafe.confidence == "likely"
    assert unsafe.evidence == "/proc/cmdline: nointremap"


BELOW = {"reset_methods": ("bus",)}


def shared(other: Member) -> Cause | None:
    """What a function that only its bus resets has of another function."""
    card = member(gpu(driver="vfio-pci"), **BELOW)
    return guest_runtime.reset_shared(case(card, other))


def test_a_bus_reset_that_takes_another_group_along() -> None:
    other = audio(driver="snd_hda_intel", iommu_group=2)
    found = shared(member(other))
    assert found is not None
    assert "0000:06:00.1" in found.text


@pytest.mark.parametrize(
    "other",
    [
        # Of the same group: both go to one guest.
        member(audio(driver="snd_hda_intel", iommu_group=1)),
        # Ready for a guest as well.
        member(audio(driver="vfio-pci", iommu_group=2)),
        # On another bus.
        member(audio("07:00.1", driver="snd_hda_intel", iommu_group=2)),
        member(audio("0001:06:00.1", iommu_group=2)),
        member(port("06:00.1", iommu_group=2)),
    ],
)
def test_a_bus_reset_that_disturbs_nothing(other: Member) -> None:
    assert shared(other) is None

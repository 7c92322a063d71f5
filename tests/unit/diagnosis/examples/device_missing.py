"""Functions that are missing, moved or not responding."""

from __future__ import annotations

from typing import Any

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence
from gpu_passthrough_plugin.model.function import Header, PhysicalFunction
from gpu_passthrough_plugin.model.group import Member
from tests.unit.diagnosis.build import (
    LOST,
    card,
    case,
    evidence,
    member,
    target,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, gpu

ASLEEP = (
    "vfio-pci 0000:06:00.0: Unable to change power state from D3cold to D0,"
    " device inaccessible"
)


def virtual(**fields: Any) -> Case:
    """Of a virtual function whose physical one is there."""
    physical = gpu("00:02.0", vendor_id=0x8086)
    lacking = target(gpu("00:02.1", vendor_id=0x8086))
    role = PhysicalFunction(7, 0)
    here = member(physical, **{"sriov": role} | fields)
    return Case(lacking, None, evidence(here), (lacking,))


def audio_of_a_card_with_sriov() -> Case:
    """Of an audio function that something removed."""
    display = member(gpu(), sriov=PhysicalFunction(16, 0))
    lacking = target(audio())
    return Case(lacking, None, evidence(display), (lacking,))


def missing(*members: Member) -> Case:
    """Of a function that the host does not show."""
    wanted = target(gpu())
    return Case(wanted, None, evidence(*members), (wanted,))


UNPLUGGED = "pcieport 0000:00:02.0: pciehp: Slot(6): Link Down, 0000:06:00.0"

EXAMPLES = {
    "gone": Example(
        missing(card()[1]),
        Confidence.CERTAIN,
        "/sys/bus/pci/devices",
        (case(),),
        (
            Case(target(gpu()), None, evidence(log=(UNPLUGGED,))),
            audio_of_a_card_with_sriov(),
            missing(),
            virtual(),
            virtual(sriov=PhysicalFunction(7, 2)),
        ),
    ),
    "moved": Example(
        case()._replace(target=target(audio("06:00.0"))),
        Confidence.CERTAIN,
        "10de:0fba",
        (
            case(),
            case()._replace(target=target(gpu(), vendor_id=0, product_id=0)),
            case(*card(vendor_id=LOST))._replace(target=target(gpu())),
            case(*card(vendor_id=0xFFFF, product_id=0xFFFF)),
            missing(card()[1]),
        ),
        (missing(card()[1], member(gpu("82:00.0"))),),
    ),
    "unreadable": Example(
        case(*card(driver=LOST)),
        Confidence.POSSIBLE,
        "the driver: unreadable (Permission denied)",
        (case(), case(*card(driver=None))),
        (case(*card(iommu_group=LOST)),),
    ),
    "d3cold": Example(
        case(member(gpu(), header=Header.DEAD), log=(ASLEEP,)),
        Confidence.CERTAIN,
        ASLEEP,
        (
            case(log=(ASLEEP.replace("06:00.0", "82:00.0"),)),
            case(log=("vfio-pci 0000:06:00.0: enabling device",)),
        ),
    ),
    "dead": Example(
        case(member(gpu(driver="vfio-pci"), header=Header.DEAD)),
        Confidence.CERTAIN,
        "reads ff",
        (case(), case(member(gpu(), header=LOST))),
    ),
}

"""Functions whose group or model has other members."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.group import Member
from tests.unit.diagnosis.build import (
    LOST,
    Fields,
    bound,
    case,
    found,
    member,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, function, gpu, port

IDS = {"/etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430,10de:0fba"}
SPLIT = (bound()[0], member(audio(driver="vfio-pci", iommu_group=2)))
STRANGER = member(
    function("07:00.0", "14e4:165f", 0x020000, driver="tg3")
)  # fmt: skip


def twin(driver: str, **fields: Fields) -> Member:
    return member(gpu("82:00.0", driver=driver, iommu_group=2), **fields)


def numbered(case: Case, *groups: int | None) -> Case:
    """The same where the targets once had these groups."""
    targets: tuple[Target, ...] = tuple(
        t._replace(iommu_group=group)
        for t, group in zip(case.targets, groups, strict=True)
    )
    return case._replace(target=targets[0], targets=targets)


EXAMPLES = {
    "group-shared": Example(
        case(*bound(), STRANGER),
        Confidence.CERTAIN,
        "0000:07:00.0 on tg3",
        (
            case(*bound()),
            case(*bound(), member(gpu("07:00.0", driver="vfio-pci"))),
            case(*bound(), member(gpu("07:00.0", driver=None))),
            case(*bound(), member(port(driver="pcieport"))),
            case(*bound(), twin("nouveau")),
        ),
        (
            case(
                *bound(),
                member(gpu("06:00.2", driver="xhci_hcd", class_code=0x0C0330)),
            ),
            case(*bound(), member(gpu("07:00.0", driver=LOST))),
        ),
    ),
    "identical-captured": Example(
        case(*bound(), twin("vfio-pci"), installation=found(IDS)),
        Confidence.CERTAIN,
        "0000:82:00.0 on vfio-pci",
        (
            case(*bound(), twin("vfio-pci")),
            case(*bound(), twin("nouveau"), installation=found(IDS)),
            # A guest that libvirt started has it.
            case(
                *bound(),
                twin("vfio-pci", driver_override="vfio-pci"),
                installation=found(IDS),
            ),
        ),
    ),
    "group-split": Example(
        numbered(case(*SPLIT), 18, 18),
        Confidence.POSSIBLE,
        "groups 1, 2",
        (numbered(case(*SPLIT), 18, 19), numbered(case(*bound()), 18, 18)),
    ),
    "group-renumbered": Example(
        numbered(case(*bound()), 18, 18),
        Confidence.POSSIBLE,
        "iommu_group: 1",
        (numbered(case(*bound()), 1, 1), numbered(case(*bound()), None, None)),
    ),
}

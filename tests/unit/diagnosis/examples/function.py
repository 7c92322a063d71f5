"""Of the function itself, and of what a guest would run into."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Case, Confidence
from gpu_passthrough_plugin.model.change_history import Target
from gpu_passthrough_plugin.model.function import Header, Physical
from gpu_passthrough_plugin.model.group import Member
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why
from tests.unit.diagnosis.build import (
    Fields,
    card,
    case,
    evidence,
    found,
    member,
    target,
)
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import audio, facts, function, gpu, port

LOST = Unknown(Why.UNREADABLE, "Permission denied")
ASLEEP = (
    "vfio-pci 0000:06:00.0: Unable to change power state from D3cold to D0,"
    " device inaccessible"
)
QAT = function("06:00.0", "8086:37c8", 0x0B4000, driver=None)
DENIED = "vfio-pci 0000:06:00.0: 8086:37c8 exists in vfio-pci device denylist"
ALLOWED = {"/etc/modprobe.d/qat.conf": "options vfio-pci disable_denylist=1"}
REFUSED = "vfio-pci: probe of 0000:06:00.0 failed with error -22"
NO_GROUP = member(gpu(driver=None, iommu_group=None))
MAPPED = (
    "vfio-pci 0000:06:00.0: Firmware has requested this device have a 1:1"
    " IOMMU mapping, rejecting configuring the device without a 1:1 mapping."
)
HELD = "vfio-pci 0000:06:00.0: BAR 3: can't reserve [mem 0xf1000000]"
UNMAPPED = (
    "vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the"
    ' module param "allow_unsafe_interrupts"'
)
UNSAFE = {
    "/etc/modprobe.d/a.conf": "options vfio_iommu_type1"
    " allow_unsafe_interrupts=1"
}
IDS = {"/etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430,10de:0fba"}


def missing(*members: Member) -> Case:
    """Of a function that the host does not show."""
    wanted = target(gpu())
    return Case(wanted, None, evidence(*members), (wanted,))


def bound(**fields: Fields) -> tuple[Member, ...]:
    """A card and its audio function on vfio-pci."""
    return (
        member(gpu(driver="vfio-pci"), **fields),
        member(audio(driver="vfio-pci")),
    )


def twin(driver: str, **fields: Fields) -> Member:
    return member(gpu("82:00.0", driver=driver, iommu_group=2), **fields)


def numbered(case: Case, *groups: int | None) -> Case:
    """The same where the targets once had these groups."""
    targets: tuple[Target, ...] = tuple(
        t._replace(iommu_group=group)
        for t, group in zip(case.targets, groups, strict=True)
    )
    return case._replace(target=targets[0], targets=targets)


SPLIT = (bound()[0], member(audio(driver="vfio-pci", iommu_group=2)))
STRANGER = member(
    function("07:00.0", "14e4:165f", 0x020000, driver="tg3")
)  # fmt: skip

FUNCTION = {
    "gone": Example(
        missing(card()[1]),
        Confidence.CERTAIN,
        "1 functions, and not this one",
        (case(),),
    ),
    "moved": Example(
        case()._replace(target=target(audio("06:00.0"))),
        Confidence.CERTAIN,
        "0000:06:00.0 is 10de:1430, and was 10de:0fba",
        (
            case(),
            case()._replace(target=target(gpu(), vendor_id=0, product_id=0)),
            case(*card(vendor_id=LOST))._replace(target=target(gpu())),
            case(*card(vendor_id=0xFFFF, product_id=0xFFFF)),
            missing(card()[1]),
        ),
    ),
    "unreadable": Example(
        case(*card(driver=LOST)),
        Confidence.POSSIBLE,
        "the driver: unreadable (Permission denied)",
        (case(), case(*card(driver=None))),
    ),
    "dead": Example(
        case(member(gpu(driver="vfio-pci"), header=Header.DEAD)),
        Confidence.CERTAIN,
        "reads ff",
        (case(), case(member(gpu(), header=LOST))),
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
    "bridge": Example(
        case(member(port("06:00.0", driver="pcieport"))),
        Confidence.CERTAIN,
        "header type",
        (case(), case(member(gpu(), header=Header.DEAD))),
    ),
    "denied": Example(
        case(member(QAT), log=(DENIED,)),
        Confidence.CERTAIN,
        DENIED,
        (case(), case(member(QAT), installation=found(ALLOWED))),
    ),
    "sriov-busy": Example(
        case(
            member(gpu(), sriov=Physical(8, 2)),
            log=(
                "vfio-pci 0000:06:00.0: Cannot bind to PF with SRIOV enabled",
            ),
        ),
        Confidence.CERTAIN,
        "Cannot bind to PF with SRIOV enabled",
        (case(member(gpu(), sriov=Physical(8, 0))), case()),
    ),
    "probe-failed": Example(
        case(log=(REFUSED,)),
        Confidence.LIKELY,
        REFUSED,
        (
            case(NO_GROUP, log=(REFUSED,)),
            case(log=(REFUSED.replace("06:00.0", "06:00.1"),)),
            case(log=(REFUSED.replace("vfio-pci", "nouveau"),)),
        ),
    ),
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
    "rmrr": Example(
        case(*bound(), log=(MAPPED,)),
        Confidence.CERTAIN,
        MAPPED,
        (case(log=(MAPPED.replace("06:00.0", "06:00.1"),)),),
    ),
    "framebuffer": Example(
        case(*bound(boot_vga=True), log=("efifb: probing", HELD)),
        Confidence.LIKELY,
        HELD,
        (
            case(*bound(), log=("efifb: probing for efifb",)),
            case(*bound(boot_vga=True)),
            case(*bound(boot_vga=LOST), log=("simple-framebuffer: on",)),
        ),
    ),
    "interrupt-remapping": Example(
        case(*bound(), log=(UNMAPPED,)),
        Confidence.CERTAIN,
        UNMAPPED,
        (
            case(*bound()),
            case(*bound(), log=(UNMAPPED,), installation=found(UNSAFE)),
            case(*bound(), facts=facts(kernel_arguments=("intremap=on",))),
        ),
    ),
    "no-reset": Example(
        case(*bound(reset_methods=())),
        Confidence.LIKELY,
        "is empty",
        (
            case(*bound(reset_methods=("bus",))),
            case(*bound(reset_methods=MISSING)),
            case(member(gpu(), reset_methods=MISSING, bridges=())),
            case(*bound(reset_methods=LOST)),
        ),
    ),
}

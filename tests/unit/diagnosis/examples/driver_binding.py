"""Functions that vfio-pci does not get, or refuses."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from gpu_passthrough_plugin.model.function import Header, PhysicalFunction
from tests.unit.diagnosis.build import card, case, found, member
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import function, gpu, port

NOUVEAU = "nouveau 0000:06:00.0: NVIDIA GM206 (126010a1)"
QAT = function("06:00.0", "8086:37c8", 0x0B4000, driver=None)
DENIED = "vfio-pci 0000:06:00.0: 8086:37c8 exists in vfio-pci device denylist"
ALLOWED = {"/etc/modprobe.d/qat.conf": "options vfio-pci disable_denylist=1"}
IDS = found(
    {"/etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:1430,10de:0fba"}
)
REFUSED = "vfio-pci: probe of 0000:06:00.0 failed with error -22"
NO_GROUP = member(gpu(driver=None, iommu_group=None))


EXAMPLES = {
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
        (case(member(QAT)),),
    ),
    "sriov-busy": Example(
        case(
            member(gpu(), sriov=PhysicalFunction(8, 2)),
            log=(
                "vfio-pci 0000:06:00.0: Cannot bind to PF with SRIOV enabled",
            ),
        ),
        Confidence.CERTAIN,
        "Cannot bind to PF with SRIOV enabled",
        (case(member(gpu(), sriov=PhysicalFunction(8, 0))), case()),
        (case(member(gpu(), sriov=PhysicalFunction(8, 2))),),
    ),
    "competing-driver": Example(
        case(log=(NOUVEAU, "VFIO - User Level meta-driver version: 0.3")),
        Confidence.CERTAIN,
        NOUVEAU,
        (case(*card(driver=None)), case(*card(driver="vfio-pci"))),
        (
            case(),
            case(installation=found(builtin=["nouveau"])),
        ),
    ),
    "not-probed": Example(
        case(*card(driver=None), installation=IDS),
        Confidence.POSSIBLE,
        "has no driver",
        (
            case(*card(driver=None)),
            case(*card(driver="nouveau"), installation=IDS),
            case(*card(driver="vfio-pci"), installation=IDS),
        ),
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
}

"""What logs of public reports say of cards that are on vfio-pci."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from tests.unit.diagnosis.build import arguments, bound, case
from tests.unit.diagnosis.examples.example import Example

HERE = "0000:06:00.0"
ELSEWHERE = "0000:82:00.0"

FLR = f"vfio-pci {HERE}: not ready 65535ms after FLR; giving up"
# Vega behind Thunderbolt, and a Polaris with VT-d.
ATS = (
    "AMD-Vi: Event logged [IOTLB_INV_TIMEOUT device=06:00.0"
    " address=0x10d3c0c90]"
)
WAITS = "AMD-Vi: Completion-Wait loop timed out"
ITE = "DMAR: VT-d detected Invalidation Time-out Error: SID 600"
NO_SPACE = (
    f"pci {HERE}: BAR 1 [mem size 0x800000000 64bit pref]: can't assign;"
    " no space for"
)
FAILED = f"pci {HERE}: BAR 1: failed to assign [mem size 0x10000000]"
ASSIGNED = f"pci {HERE}: BAR 1: assigned [mem 0x380000000000-0x387fffffffff]"
# On hosts without any fault: ROMs, I/O ports, virtual functions.
HARMLESS_BARS = (
    FAILED.replace("BAR 1", "BAR 6"),
    FAILED.replace("BAR 1", "BAR 7"),
    f"pci {HERE}: BAR 5: failed to assign [io  size 0x0080]",
    f"pci {HERE}: VF BAR 0 [mem size 0x00200000 64bit pref]: can't assign; no"
    " space",
)
AER = (
    f"pcieport {HERE}: PCIe Bus Error: severity=Uncorrected (Fatal),"
    " type=Transaction Layer"
)
RECOVERED = f"pcieport {HERE}: AER: device recovery successful"
XID = (
    "NVRM: Xid (PCI:0000:06:00): 79, pid='<unknown>', GPU has fallen off the"
    " bus."
)
RECOVERY = (
    "NVRM: Xid (PCI:0000:06:00): 154, GPU recovery action changed from 0x0"
    " (None) to 0x2 (Node Reboot Required)"
)
HEALED = (
    "NVRM: Xid (PCI:0000:06:00): 154, GPU recovery action changed from 0x2"
    " (Node Reboot Required) to 0x0 (None)"
)
OVERRIDDEN = (
    "Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected"
    " peer-to-peer DMA"
)


EXAMPLES = {
    "reset-failed": Example(
        case(*bound(), log=(FLR,)),
        Confidence.LIKELY,
        "giving up",
        (
            case(*bound(), log=(FLR.replace(HERE, ELSEWHERE),)),
            case(*bound(), log=(FLR.replace("giving up", "waiting"),)),
        ),
        (case(*bound(), log=(FLR.replace("FLR", "bus reset"),)),),
    ),
    "iommu-timeout": Example(
        case(*bound(), log=(ATS,)),
        Confidence.LIKELY,
        "IOTLB_INV_TIMEOUT",
        (case(*bound(), log=("AMD-Vi: Interrupt remapping enabled",)),),
        (case(*bound(), log=(WAITS,)), case(*bound(), log=(ITE,))),
    ),
    "bar-unassigned": Example(
        case(*bound(), log=(FAILED,)),
        Confidence.LIKELY,
        "failed to assign",
        (
            case(*bound(), log=(FAILED, ASSIGNED)),
            *(case(*bound(), log=(line,)) for line in HARMLESS_BARS),
            case(*bound(), log=(FAILED.replace(HERE, ELSEWHERE),)),
        ),
        (
            case(*bound(), log=(NO_SPACE,)),
            case(*bound(), log=(FAILED, ASSIGNED.replace("BAR 1", "BAR 3"))),
        ),
    ),
    "pcie-error": Example(
        case(*bound(), log=(AER,)),
        Confidence.POSSIBLE,
        "severity=Uncorrected",
        (
            case(*bound(), log=(AER, RECOVERED)),
            case(*bound(), log=(AER.replace("Uncorrected", "Corrected"),)),
        ),
    ),
    "gpu-fault": Example(
        case(*bound(), log=(XID,)),
        Confidence.POSSIBLE,
        "Xid (PCI:0000:06:00): 79",
        (
            case(*bound(), log=(XID.replace("0000:06", "0000:07"),)),
            case(*bound(), log=(XID.replace("79", "43"),)),
            case(*bound(), log=(RECOVERY, HEALED)),
        ),
        (case(*bound(), log=(RECOVERY,)),),
    ),
    "acs-override": Example(
        case(*bound(), **arguments("pcie_acs_override=downstream")),
        Confidence.POSSIBLE,
        "pcie_acs_override=downstream",
        (case(*bound(), **arguments("quiet")),),
        (case(*bound(), log=(OVERRIDDEN,)),),
    ),
}

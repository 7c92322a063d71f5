"""What logs of public reports say of cards that are on vfio-pci."""

from __future__ import annotations

from gpu_passthrough_plugin.diagnosis.evidence import Confidence
from tests.unit.diagnosis.build import arguments, bound, case, member
from tests.unit.diagnosis.examples.example import Example
from tests.unit.isolation.values import function

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
LOST = f"vfio-pci {HERE}: Device config space inaccessible; unable to restore"
NVLINK = "NVRM: Xid (PCI:0000:06:00): 149, NETIR Link Mgmt Fatal"
SWITCH = "nvidia-nvswitch3: SXid (PCI:0000:c5:00.0): 20034, Fatal, Link 30"
FAULT = (
    "DMAR: [DMA Read NO_PASID] Request device [06:00.0] fault addr 0xdf000000"
    " [fault reason 0x06] PTE Read access is not set"
)
BLOCKED = (
    f'vfio-pci {HERE}: Device is currently in use, task "bash" (4711) blocked'
    " until device is released"
)
TOKEN = f"vfio-pci {HERE}: VF token required to access device"
MEMLOCK = "vfio_pin_pages_remote: RLIMIT_MEMLOCK (65536) exceeded"
QUEUE = "DMAR: VT-d detected Invalidation Queue Error: Reason f"
RELAXED = (
    "DMAR: Intel-IOMMU: assuming all RMRRs are relaxable. This can lead to"
    " instability or data loss"
)
# A driver that had the card before; a Radeon.
RADEON = f"amdgpu {HERE}: amdgpu: GPU reset(2) failed"
RADEON_BACK = f"amdgpu {HERE}: amdgpu: GPU reset(3) succeeded!"


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
            case(*bound(), log=(RADEON, RADEON_BACK)),
        ),
        (
            case(*bound(), log=(RECOVERY,)),
            case(*bound(), log=(RADEON_BACK, RADEON)),
        ),
    ),
    "device-lost": Example(
        case(*bound(), log=(LOST,)),
        Confidence.POSSIBLE,
        "inaccessible",
        (case(*bound(), log=(LOST.replace(HERE, ELSEWHERE),)),),
    ),
    "nvlink-fault": Example(
        case(*bound(), log=(NVLINK,)),
        Confidence.POSSIBLE,
        "149, NETIR",
        (
            case(*bound(), log=(NVLINK.replace("0000:06", "0000:07"),)),
            case(*bound(), log=(SWITCH.replace("Fatal", "Non-fatal"),)),
            case(
                member(
                    function(
                        "06:00.0", "1002:740f", 0x038000, driver="vfio-pci"
                    )
                ),
                log=(SWITCH,),
            ),
        ),
        (case(*bound(), log=(SWITCH,)),),
    ),
    "iommu-fault": Example(
        case(*bound(), log=(FAULT,)),
        Confidence.POSSIBLE,
        "Request device [06:00.0]",
        (case(*bound(), log=(FAULT.replace("06:00.0", "07:00.0"),)),),
        (case(*bound(), log=(FAULT, FAULT.replace("Read", "Write"))),),
    ),
    "iommu-error": Example(
        case(*bound(), log=(QUEUE,)),
        Confidence.POSSIBLE,
        "Invalidation Queue Error",
        (case(*bound(), log=(ITE,)),),
    ),
    "release-blocked": Example(
        case(*bound(), log=(BLOCKED,)),
        Confidence.POSSIBLE,
        'task "bash" (4711)',
        (case(*bound(), log=(BLOCKED.replace(HERE, ELSEWHERE),)),),
    ),
    "vf-token": Example(
        case(*bound(), log=(TOKEN,)),
        Confidence.POSSIBLE,
        "VF token required",
        (case(*bound(), log=(TOKEN.replace(HERE, ELSEWHERE),)),),
    ),
    "memory-lock-limit": Example(
        case(*bound(), log=(MEMLOCK,)),
        Confidence.POSSIBLE,
        "RLIMIT_MEMLOCK (65536)",
        (case(*bound(), log=("VFIO - User Level meta-driver",)),),
    ),
    "rmrr-relaxed": Example(
        case(*bound(), log=(RELAXED,)),
        Confidence.POSSIBLE,
        "relaxable",
        (case(*bound(), log=("DMAR: RMRR base: 0x000000bf7ec000",)),),
    ),
    "acs-override": Example(
        case(*bound(), **arguments("pcie_acs_override=downstream")),
        Confidence.POSSIBLE,
        "pcie_acs_override=downstream",
        (case(*bound(), **arguments("quiet")),),
        (case(*bound(), log=(OVERRIDDEN,)),),
    ),
}

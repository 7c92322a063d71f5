"""Messages of the kernel, and of what loads its modules, as patterns.

Patterns match a part of a message, whatever the case: kernels from 2.6.32
to 6.18 capitalise and prefix them differently.
"""

from __future__ import annotations

import re

ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
"""A PCI address with its domain."""


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


COMMAND_LINE = _any(r"command line")

# An IOMMU that failed to start.  Faults of single functions come from one
# that runs.
IOMMU_FAILED = _any(
    r"^(?!.*command line).*(DMAR|AMD-Vi|iommu).*"
    r"(fail|firmware bug|broken|invalid|can(no|')t|unable|error)",
    r"(DMAR|AMD-Vi).*disabling iommu",
)
# Source: kernel, init/main.c (print_unknown_bootoptions, from 5.14 on).
INTEL_IOMMU_UNKNOWN = _any(
    r"unknown kernel command line parameters .*intel_iommu="
)
# Source: kernel, drivers/vfio/vfio_iommu_type1.c.
# drivers/iommu/intel/irq_remapping.c, drivers/iommu/amd/init.c and
# drivers/iommu/iommufd/device.c.
NO_INTERRUPT_REMAPPING = _any(
    r"no interrupt remapping",
    r"interrupt remapping (is being|will be) disabled",
    r"Not enabling interrupt remapping",
    r"Failed to enable irq remapping",
    r"AMD-Vi: Disabling interrupt remapping",
    r"MSI interrupts are not secure",
)
INTERRUPT_REMAPPING_ON = _any(
    r"Enabled IRQ remapping in \S+ mode",
    r"AMD-Vi: Interrupt remapping enabled",
)
# Source: kernel, drivers/iommu/iommu.c and drivers/iommu/intel/iommu.c.
IDENTITY_MAPPED = _any(
    r"requested this device have a 1:1 iommu mapping",
    r"due to platform rmrr requirement",
)

# Source: kernel, drivers/pci/hotplug/pciehp_ctrl.c.
REMOVED = _any(r"link down", r"not present", r"pciehp", r"\bremov")
# Source: kernel, drivers/pci/pci.c (pci_power_up, pci_raw_set_power_state).
NOT_AWAKE = _any(
    r"(unable to|can't) change power state from D3cold",
    r"refused to change power state",
)
# Source: kernel, drivers/pci/pci.c (__pci_request_region).
BAR_IN_USE = _any(r"BAR \d.*can't reserve")
# From a driver itself, and not from the command line that turns it off.
FRAMEBUFFER = _any(
    r"^(?!.*command line)(?!.*(efifb|vesafb|simplefb):off).*"
    r"(\befifb\b|simpledrm|simple-framebuffer|vesafb)"
)

# Source: kernel, drivers/pci/pci.c (pci_dev_wait).
RESET_FAILED = _any(r"not ready \d+ms after .*; giving up")
RESET_SLOW = _any(r"not ready \d+ms after .*; waiting")
RESET_DONE = _any(r"ready \d+ms after ")
# Source: kernel, drivers/iommu/amd/iommu.c (iommu_print_event, wait_on_sem)
# and drivers/iommu/intel/dmar.c (qi_dump_fault).
INVALIDATION_TIMED_OUT = _any(
    r"IOTLB_INV_TIMEOUT",
    r"Completion-Wait loop timed out",
    r"Invalidation Time-?out Error",
)
# Source: kernel, drivers/pci/setup-res.c (pci_assign_resource).
# The first six are BARs; 6 is the expansion ROM, which guests do not need, and
# later numbers are of virtual functions and of bridges' windows.
_BAR = r"(?<!VF )BAR (?P<bar>[0-5])\b(?!.*\[io )"
BAR_UNASSIGNED = _any(rf"{_BAR}.*(no space|failed to assign|can't assign)")
BAR_ASSIGNED = _any(rf"{_BAR}.*: assigned")
# Source: kernel, drivers/pci/pcie/aer.c (aer_print_error).
PCIE_ERROR = _any(
    r"PCIe Bus Error: severity=Uncorrect", r"AER: .*(fatal|uncorrect)"
)
PCIE_RECOVERED = _any(r"device recovery successful")
# Source: NVIDIA/open-gpu-kernel-modules, nverror.h.
XID = _any(
    r"NVRM: Xid \(PCI:(?P<place>[0-9a-f:.]+)\): (?P<code>79|119|120|154)\b"
)
# Source: kernel, drivers/pci/quirks.c with the ACS override, which is no
# part of it.
ACS_OVERRIDDEN = _any(
    r"ACS overrides (enabled|may allow)",
)

VFIO_LOADED = _any(r"VFIO - User Level|vfio[-_]pci")
# From systemd-modules-load(8), modprobe(8) and this product's early script.
VFIO_NOT_FOUND = _any(
    r"failed to find module 'vfio[-_]pci'",
    r"module vfio[-_]pci not found",
    r"gpu-passthrough: vfio-pci cannot be loaded",
)
# Source: kernel, kernel/module/main.c (unknown_module_param_cb); kmod,
# libkmod/libkmod-config.c.
VFIO_OPTION_IGNORED = _any(r"vfio[-_]pci: unknown parameter '(?P<name>\w+)'")
BAD_LINE = _any(r"(?P<path>/\S+)[ :]+line (?P<line>\d+): ignoring bad line")
# Source: kernel, drivers/vfio/pci/vfio_pci.c (vfio_pci_is_denylisted).
VFIO_DENIED = _any(r"in vfio-pci device (denylist|blacklist)")
# Source: kernel, drivers/vfio/pci/vfio_pci_core.c.
VFIO_SRIOV_ENABLED = _any(r"cannot bind to pf with sr-?iov enabled")
# Source: kernel, drivers/base/dd.c (really_probe), before and from 6.6 on.
VFIO_PROBE_FAILED = _any(
    r"vfio.*probe of \S+ failed with error -\d+",
    r"vfio.*probe with driver \S+ failed with error -\d+",
)

# From this product's early script.
EARLY_SCRIPT_FAILED = _any(
    r"gpu-passthrough: .*(alone|cannot|did not|is not (there|present))"
)


def word(text: str) -> re.Pattern[str]:
    """Return a pattern for a word, such as a driver's name."""
    return _any(rf"\b{re.escape(text)}\b")

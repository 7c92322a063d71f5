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
    r"BIOS is broken; DMAR reported at address",
    r"DMAR: No (DMAR devices|DRHD structure) found",
    r"DMAR: .*Not attempting DMA translation",
    r"AMD-Vi: Disable IOMMU on",
    r"AMD-Vi: IOMMU not currently supported",
    r"AMD-Vi: Can not reserve memory region",
    r"arm-smmu\S* .*(no translation support"
    r"|context irq\(s\) but \d+ required)",
)
# The processor's own graphics, which the kernel leaves out.
# Source: kernel, drivers/iommu/intel/iommu.c (quirk_iommu_igfx,
# quirk_calpella_no_shadow_gtt, intel_iommu_setup).
GRAPHICS_LEFT_OUT = _any(
    r"Disabling IOMMU for graphics",
    r"DMAR: Disable GFX device mapping",
    r"no shadow GTT; disabling IOMMU for graphics",
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
# From a patch that some distributions carry.
# Source: kernel, drivers/iommu/intel/iommu.c (intel_iommu_setup).
RELAX_UNKNOWN = _any(r"DMAR: Unknown option - 'relax_rmrr'")
RMRR_RELAXED = _any(r"assuming all RMRRs are relaxable")
# Memory that a device may not access, or an interrupt that it may not send.
# Source: kernel, drivers/iommu/intel/dmar.c (dmar_fault_do_one),
# drivers/iommu/amd/iommu.c (amd_iommu_report_page_fault, iommu_print_event).
IOMMU_FAULT = _any(
    r"DMAR: .*Request device \[\S+\] fault (addr|index)",
    r"Event logged \[(IO_PAGE_FAULT|INVALID_DEVICE_REQUEST"
    r"|ILLEGAL_DEV_TABLE_ENTRY|RMP_PAGE_FAULT)\b",
)
# Source: the same, and drivers/iommu/arm/arm-smmu/arm-smmu.c
# (arm_smmu_global_fault, __arm_smmu_tlb_sync), arm-smmu-v3/arm-smmu-v3.c
# (arm_smmu_gerror_handler).
IOMMU_ERROR = _any(
    r"VT-d detected Invalidation Queue Error",
    r"Event logged \[(DEV_TAB|PAGE_TAB|COMMAND)_HARDWARE_ERROR",
    r"Event logged \[(ILLEGAL_COMMAND_ERROR|RMP_HW_ERROR)",
    r"arm-smmu\S* .*(SMMU may be deadlocked|could be serious)",
    r"arm-smmu\S* .*has entered Service Failure Mode",
)

# Source: kernel, drivers/pci/hotplug/pciehp_ctrl.c.
REMOVED = _any(
    r"link down",
    r"not present",
    r"pciehp",
    r"\bremov",
    # Source: kernel, drivers/pci/probe.c (pci_bus_wait_rrs,
    # pci_setup_device).
    r"not ready after \d+ms; giving up",
    r"unknown header type 7f, ignoring device",
)
# Source: kernel, drivers/pci/probe.c (pci_scan_bridge_extend).
BUS_NUMBERS_SHORT = _any(r"devices behind bridge are unusable because \[bus")
# Source: kernel, drivers/pci/iov.c (sriov_enable, sriov_numvfs_store).
SRIOV_FAILED = _any(
    r"not enough MMIO resources for SR-IOV",
    r"SR-IOV: IOV BARS not allocated",
    r"can't enable \d+ VFs",
    r"no driver bound to device; cannot configure SR-IOV",
    r"driver does not support SR-IOV configuration via sysfs",
    # Source: kernel, drivers/net/ethernet/broadcom/bnxt/bnxt_sriov.c.
    r"Reject SRIOV config request",
)
# Source: kernel, drivers/pci/pci.c (pci_power_up, pci_raw_set_power_state).
NOT_AWAKE = _any(
    r"(unable to|can't) change power state from D3cold",
    r"refused to change power state",
    # Source: kernel, drivers/vfio/pci/vfio_pci_core.c.
    r"vfio: runtime resume failed",
)
# Source: kernel, drivers/pci/pci.c (pci_dev_config_accessible),
# drivers/pci/pcie/aer.c (aer_print_error) and
# drivers/vfio/pci/vfio_pci_core.c (vfio_pci_core_disable).
DEVICE_LOST = _any(
    r"Device config space inaccessible; unable to",
    r"PCIe Bus Error: .*type=Inaccessible",
    r"Couldn't reload saved state",
)
# Source: kernel, drivers/pci/pci.c (__pci_request_region).
# Web pages turn the apostrophe of copied logs into a typographic one.
BAR_IN_USE = _any(r"BAR \d.*can['\u2019]t reserve")
# From a driver itself, and not from the command line that turns it off.
FRAMEBUFFER = _any(
    r"^(?!.*command line)(?!.*(efifb|vesafb|simplefb):off).*"
    r"(\befifb\b|simpledrm|simple-framebuffer|vesafb)"
)
# Source: kernel, drivers/gpu/drm/drm_drv.c (drm_dev_register).
FRAMEBUFFER_DEVICE = re.compile(
    r"Initialized simpledrm \S+ (?:\d+ )?for"
    r" (?P<name>simple-framebuffer\.\d+)\b"
)

# Source: kernel, drivers/pci/pci.c (pci_dev_wait).
RESET_FAILED = _any(
    r"not ready \d+ms after (?P<event>.*); giving up",
    # Source: kernel, drivers/pci/quirks.c (reset_ivb_igd).
    rf"{ADDRESS}: timeout during reset",
)
RESET_SLOW = _any(r"not ready \d+ms after .*; waiting")
RESET_DONE = _any(r"ready \d+ms after ")
# Source: kernel, drivers/iommu/amd/iommu.c (iommu_print_event, wait_on_sem)
# and drivers/iommu/intel/dmar.c (qi_dump_fault).
INVALIDATION_TIMED_OUT = _any(
    r"IOTLB_INV_TIMEOUT",
    r"Completion-Wait loop timed out",
    r"Invalidation Time-?out Error",
    r"VT-d detected Invalidation Completion Error",
    r"AMD-Vi: Command buffer timeout",
    # Source: kernel, drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c.
    r"arm-smmu\S* .*CMD_SYNC timeout at",
    r"arm-smmu\S* .*CMDQ error \(cons",
)
# Source: kernel, drivers/pci/setup-res.c (pci_assign_resource).
# The first six are BARs; 6 is the expansion ROM, which guests do not need, and
# later numbers are of virtual functions and of bridges' windows.
_BAR = r"(?<!VF )BAR (?P<bar>[0-5])\b(?!.*\[io )"
BAR_UNASSIGNED = _any(
    rf"{_BAR}.*(no space|failed to assign|can't assign|not assigned)"
)
BAR_ASSIGNED = _any(rf"{_BAR}.*: assigned")
# Source: kernel, drivers/pci/pcie/aer.c (aer_print_error), pcie/err.c,
# pcie/dpc.c, pci.c (pci_bridge_wait_for_secondary_bus) and
# hotplug/pciehp_hpc.c (pciehp_check_link_status).
PCIE_ERROR = _any(
    r"PCIe Bus Error: severity=Uncorrect(?!.*type=Inaccessible)",
    r"AER: .*(fatal|uncorrect)",
    r"device recovery failed",
    r"subordinate device reset failed",
    r"containment event, status:",
    r"Data Link Layer Link Active not set",
    r"pciehp: Slot\(\S+\): (Power fault|Cannot train link|No link)",
)
PCIE_RECOVERED = _any(r"device recovery successful")
# Errors of the card that outlive a driver: not those of a program that used
# it, such as 13, 31 and 43.
# Source: NVIDIA/open-gpu-kernel-modules, nverror.h and nv-pci.c.
_PLACE = r"\(PCI:(?P<place>[0-9a-f:.]+)\)"
XID = _any(
    rf"NVRM: Xid {_PLACE}: (?P<code>48|64|79|95|119|120|140|143|154|167)\b"
)
# The same without 154, which says what to do about one before it.
XID_FAULT = _any(
    rf"NVRM: Xid {_PLACE}: (?P<code>48|64|79|95|119|120|140|143|167)\b"
)
NVRM_BAR = _any(rf"NVRM: BAR(?P<bar>\d) is 0M @ 0x0 {_PLACE}")
# In the first line of three, whose last is FALLEN_OFF.
NVRM_GPU = _any(rf"NVRM: The NVIDIA GPU (?P<place>{ADDRESS})")
FALLEN_OFF = _any(r"NVRM: fallen off the bus and is not responding")
NVLINK_XID = _any(rf"NVRM: Xid {_PLACE}: (?P<code>74|14[4-9]|150|155)\b")
NVSWITCH_FATAL = _any(r"nvidia-nvswitch\d+: SXid .*(?<!Non-)\bFatal\b")
# From other drivers, about the card that they had before vfio-pci.
# Source: kernel, drivers/gpu/drm/amd/amdgpu, drivers/gpu/drm/xe and
# drivers/accel/habanalabs; NVIDIA's osinit.c.
GPU_LOST = _any(
    r"RmInitAdapter failed!",
    r"amdgpu: .*(GPU reset\(\d+\) failed|GPU mode1 reset failed"
    r"|GPU reset end with ret = -|ASIC reset failed|device lost from bus!"
    r"|asic reset on init failed|VF exclusive mode timeout)",
    r"(amdgpu|\[drm\S*) .*(Fatal error during GPU init|atombios stuck in loop"
    r"|PSP load \w+ failed|PSP create ring failed)",
    r"Xe has declared device \S+ as wedged",
    r"Driver-FLR-\S+ wait for ready failed",
    r"habanalabs.*(heartbeat failed! PCI link is broken"
    r"|Failed to reset! Device is NOT usable)",
)
GPU_RECOVERED = _any(
    r"GPU reset(\(\d+\))? succeeded", r"Successfully finished resetting"
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
# Source: kmod, libkmod/libkmod-module.c (command_do).
VFIO_INSTALL_FAILED = _any(
    r"Error running install command .* for module vfio[-_]pci\b"
)
# Source: kernel, drivers/vfio/pci/vfio_pci.c (vfio_pci_fill_ids).
VFIO_ID_INVALID = _any(
    r"vfio[-_]pci: invalid id string", r"vfio[-_]pci: failed to add dynamic id"
)
# Source: kernel, kernel/module/main.c (unknown_module_param_cb); kmod,
# libkmod/libkmod-config.c.
VFIO_OPTION_IGNORED = _any(r"vfio[-_]pci: unknown parameter '(?P<name>\w+)'")
BAD_LINE = _any(r"(?P<path>/\S+)[ :]+line (?P<line>\d+): ignoring bad line")
BAD_WORD = _any(
    r"ignoring bad option on kernel command line .*'\s*vfio[-_]pci"
)
# Source: kernel, drivers/vfio/pci/vfio_pci.c (vfio_pci_is_denylisted).
VFIO_DENIED = _any(r"in vfio-pci device (denylist|blacklist)")
# Source: kernel, drivers/vfio/pci/vfio_pci_core.c.
VFIO_SRIOV_ENABLED = _any(r"cannot bind to pf with sr-?iov enabled")
# Source: kernel, drivers/base/dd.c (really_probe), before and from 6.6 on.
VFIO_PROBE_FAILED = _any(
    r"vfio.*probe of \S+ failed with error -\d+",
    r"vfio.*probe with driver \S+ failed with error -\d+",
)

# Source: kernel, drivers/vfio/pci/vfio_pci_core.c
# (vfio_pci_validate_vf_token).
VF_TOKEN = _any(
    r"VF token required to access device",
    r"Incorrect VF token provided",
    r"VF token incorrectly provided",
)
# Source: kernel, drivers/vfio/vfio_iommu_type1.c (vfio_pin_pages_remote).
MEMORY_LOCK_LIMIT = _any(r"RLIMIT_MEMLOCK \(\d+\) exceeded")
# Source: kernel, drivers/vfio/vfio_main.c (vfio_unregister_group_dev) and
# vfio/pci/vfio_pci_core.c (vfio_pci_core_request); NVIDIA's nv-pci.c.
RELEASE_BLOCKED = _any(
    r"blocked until device is released",
    r"blocked until released by user",
    rf"NVRM: Attempting to remove device {ADDRESS} with non-zero usage count",
)

# From this product's early script.
EARLY_SCRIPT_FAILED = _any(
    r"gpu-passthrough: .*(alone|cannot|did not|is not (there|present))"
)


def word(text: str) -> re.Pattern[str]:
    """Return a pattern for a word, such as a driver's name."""
    return _any(rf"\b{re.escape(text)}\b")

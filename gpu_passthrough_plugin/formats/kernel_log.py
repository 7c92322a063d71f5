"""The kernel's log: its messages, and what some of them tell about PCI.

Patterns match a part of a message, whatever the case: kernels from 2.6.32
to 6.18 capitalise and prefix them differently.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence

from gpu_passthrough_plugin.model import budget
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.redaction import Redaction

# ``PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,…];``, as /dev/kmsg has it; lines
# that begin with a blank belong to the record before.
# Source: kernel, Documentation/ABI/testing/dev-kmsg.
_RECORD = re.compile(r"\d+,\d+,\d+,[^;]*;")
_ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
# What dmesg prints before a message with its options -r, -x, -T and
# --time-format, and what kernels with CONFIG_PRINTK_CALLER add.
# Source: dmesg(1).
_HEAD = re.compile(
    r"(?:<\d+>)?(?:\w+ *:\w+ *: )?"
    r"(?:\[ *\d+\.\d+\]|\[\w{3} \w{3} +\d+ [\d:]{8} \d{4}\]"
    r"|\d{4}-\d\d-\d\dT[\d:,.]+\S*)"
    r"(?:\[ *[TC]\d+\])? ?"
)
# ``journalctl -k``: date, name of the host, and the source.
_JOURNAL = re.compile(r"\S+ +\d+ [\d:]{8} \S+ (kernel|[\w.@-]+\[\d+\]): ")

_ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
_TOPICS = re.compile(
    r"vfio|\bDMAR\b|DMAR-IR|AMD-Vi|iommu|directed i/o|remapping"
    r"|command line|gpu-passthrough"
    r"|efifb|simpledrm|simple-framebuffer|vesafb|sysfb|vgaarb|\bfb\d+:"
    r"|\bD3cold\b|power state|pciehp|\bAER\b|\bNVRM\b"
    r"|after (FLR|bus reset|hot reset|D3|DPC)|Completion-Wait|IOTLB_INV"
    r"|Invalidation Time-out|libkmod|ignoring bad line|unknown parameter"
    rf"|{_ADDRESS}:? .*(fail|error|can't|cannot|timed out|reset|"
    r"inaccessible|bar \d|no space|not ready|ACS)",
    re.IGNORECASE,
)
# ``nouveau 0000:06:00.0: …``: a driver's message about its function.
_DRIVER = re.compile(rf"(?P<driver>[\w-]+) {_ADDRESS}: ", re.IGNORECASE)
_BUS = frozenset({"pci", "pci_bus", "pcieport", "shpchp"})
# Some drivers never stop complaining.

# Printed while the kernel parses the argument, whether or not an IOMMU
# starts: it proves nothing.
# Source: kernel, drivers/iommu/intel/iommu.c (intel_iommu_setup).
_INCONCLUSIVE = re.compile(r"\bDMAR: IOMMU enabled\b")


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


def parsed(text: str) -> tuple[str, ...]:
    """Return the messages, oldest first, without their times.

    :param text: from ``dmesg``, ``journalctl -k`` or /dev/kmsg.
    """
    lines: list[str] = []
    is_record = False
    for whole in text.split("\n"):
        line = whole[: budget.MAX_LOG_LINE_BYTES]
        head = _RECORD.match(line)
        if head:
            is_record = True
            lines.append(_ESCAPED.sub(_byte, line[head.end() :]))
        elif line.strip() and not (is_record and line.startswith(" ")):
            is_record = False
            lines.append(_message(line))
    return tuple(line.rstrip() for line in lines)


def relevant(
    lines: Iterable[str], redaction: Redaction | None = None
) -> tuple[str, ...]:
    """Return the messages that an explanation may need, redacted.

    Of too many messages the oldest are kept: they show which
    driver was first.
    """
    kept = itertools.islice(filter(_is_relevant, lines), budget.MAX_LOG_LINES)
    return tuple(map((redaction or Redaction()).arguments, kept))


def conclusive(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the messages without those that prove nothing."""
    return _conclusive(tuple(lines))


# Each cause of a diagnosis asks again for each function.
@functools.lru_cache(maxsize=8)
def _conclusive(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line for line in lines if not _INCONCLUSIVE.search(line))


def about(lines: Iterable[str], address: Address) -> tuple[str, ...]:
    """Return the messages that name a function, oldest first."""
    return _about(tuple(lines), address)


@functools.lru_cache(maxsize=32)
def _about(lines: tuple[str, ...], address: Address) -> tuple[str, ...]:
    named = re.compile(rf"(?<![0-9a-f:]){re.escape(str(address))}(?![0-9a-f])")
    return tuple(line for line in lines if named.search(line))


def about_in_any_form(
    lines: Iterable[str], address: Address
) -> tuple[str, ...]:
    """Return the messages that name a function, also without its domain."""
    short = str(address).partition(":")[2]
    forms = re.compile(
        rf"(?<![0-9a-f]){re.escape(short)}(?![0-9a-f])", re.IGNORECASE
    )
    return tuple(line for line in lines if forms.search(line))


def last(lines: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    """Return the last message in which ``pattern`` matches, or None."""
    return first(reversed(lines), pattern)


def first(lines: Iterable[str], pattern: re.Pattern[str]) -> str | None:
    """Return the first message in which ``pattern`` matches, or None."""
    return next((line for line in lines if pattern.search(line)), None)


def _is_relevant(line: str) -> bool:
    if _TOPICS.search(line):
        return True
    message = _DRIVER.match(line)
    return message is not None and message["driver"] not in _BUS


def _message(line: str) -> str:
    head = _HEAD.match(line)
    if head:
        return line[head.end() :]
    journal = _JOURNAL.match(line)
    if journal is None:
        return line
    who = "" if journal[1] == "kernel" else f"{journal[1]}: "
    return who + line[journal.end() :]


def _byte(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char.isprintable() else " "

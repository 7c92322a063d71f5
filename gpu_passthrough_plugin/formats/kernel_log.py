"""The kernel's log: its messages, and which of them may tell about PCI."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence

from gpu_passthrough_plugin.formats.kernel_messages import ADDRESS
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

_TOPICS = re.compile(
    r"vfio|\bDMAR\b|DMAR-IR|AMD-Vi|iommu|directed i/o|remapping"
    r"|command line|gpu-passthrough"
    r"|efifb|simpledrm|simple-framebuffer|vesafb|sysfb|vgaarb|\bfb\d+:"
    r"|\bD3cold\b|power state|pciehp|\bAER\b|\bDPC\b|\bNVRM\b|\bSXid\b"
    r"|arm-smmu|\bRMRRs\b|for graphics|habanalabs"
    r"|after (FLR|bus reset|hot reset|D3|DPC)|Completion-Wait|IOTLB_INV"
    r"|Invalidation Time-out|libkmod|ignoring bad (line|option)"
    r"|unknown parameter|install command"
    rf"|{ADDRESS}:? .*(fail|error|can't|cannot|timed out|reset|"
    r"inaccessible|bar \d|no space|not ready|ACS|header type|resources"
    r"|IOV\b|driver bound|unusable|recovery|Link Active|containment)",
    re.IGNORECASE,
)
# ``nouveau 0000:06:00.0: …``: a driver's message about its function.
_DRIVER = re.compile(rf"(?P<driver>[\w-]+) {ADDRESS}: ", re.IGNORECASE)
_BUS = frozenset({"pci", "pci_bus", "pcieport", "shpchp"})

# Printed while the kernel parses the argument, whether or not an IOMMU
# starts: it proves nothing.
# Source: kernel, drivers/iommu/intel/iommu.c (intel_iommu_setup).
_INCONCLUSIVE = re.compile(r"\bDMAR: IOMMU enabled\b")


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

"""The kernel's log: messages without their time, and the relevant ones."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gpu_passthrough_plugin.model.redaction import redacted_line

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
    r"|\bD3cold\b|power state|pciehp|\bAER\b"
    rf"|{_ADDRESS}:? .*(fail|error|can't|cannot|timed out|reset|"
    r"inaccessible|bar \d)",
    re.IGNORECASE,
)
# ``nouveau 0000:06:00.0: …``: a driver's message about its function.
_DRIVER = re.compile(rf"(?P<driver>[\w-]+) {_ADDRESS}: ", re.IGNORECASE)
_BUS = frozenset({"pci", "pci_bus", "pcieport", "shpchp"})
# A driver that never stops complaining.
_MAX_LINES = 20_000


def parsed(text: str) -> tuple[str, ...]:
    """Return the messages, oldest first, without their times.

    :param text: from ``dmesg``, ``journalctl -k`` or /dev/kmsg.
    """
    lines: list[str] = []
    is_record = False
    for line in text.split("\n"):
        head = _RECORD.match(line)
        if head:
            is_record = True
            lines.append(_ESCAPED.sub(_byte, line[head.end() :]))
        elif line.strip() and not (is_record and line.startswith(" ")):
            is_record = False
            lines.append(_message(line))
    return tuple(line.rstrip() for line in lines)


def relevant(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the messages that an explanation may need, redacted.

    Hardware addresses, serial numbers, UUIDs of disks and the like are
    hidden.  Of too many messages the oldest are kept: they show which
    driver was first.
    """
    kept = [redacted_line(line) for line in lines if _is_relevant(line)]
    return tuple(kept[:_MAX_LINES])


def _is_relevant(line: str) -> bool:
    if _TOPICS.search(line):
        return True
    said = _DRIVER.match(line)
    return said is not None and said["driver"] not in _BUS


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

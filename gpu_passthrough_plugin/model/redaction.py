"""Remove what identifies one machine from text."""

from __future__ import annotations

import re

HIDDEN = "(hidden)"

# Ethernet's six octets, or the twenty of InfiniBand and the eight of a
# world wide name.
_HARDWARE = re.compile(
    r"(?<![0-9a-f:.-])[0-9a-f]{2}(?:([:-])[0-9a-f]{2})"
    r"(?:\1[0-9a-f]{2}){4,18}(?![0-9a-f:])",
    re.IGNORECASE,
)
# Names of disks that end in their serial number.
_BY_ID = re.compile(r"(?<=/by-id/)[^\s\"',;\\)]+|\bwwn-0x[0-9a-f]+", re.I)
_SERIAL = re.compile(
    r"(\bserial[ _-]?(?:number|no\b\.?)|\bS/N|\bSN(?=[:=]))([\s:=\"]*)"
    r"[^\s\"',;\\)]+",
    re.IGNORECASE,
)
_UUID = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])",
    re.IGNORECASE,
)
# File systems' short ones, and machine ids.
_NAMED = re.compile(r"(?<=UUID=)[^\s\"',;]+|(?<=LABEL=)[^\s\"',;]+")
_MACHINE = re.compile(r"(?<![0-9a-fx])[0-9a-f]{32}(?![0-9a-f])")
# Kernel arguments that hold addresses, names or passwords.
_PRIVATE = re.compile(
    r"(?<![\w.])((?:bootif|ifname|ip|netroot|nfsroot|nameserver|inst\.ks|ks"
    r"|rd\.iscsi\.\w+|rd\.luks\.\w+|rd\.znet|rd\.zfcp|systemd\.machine_id"
    r"|systemd\.set_credential\w*|systemd\.hostname)=)\S+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Return the text without hardware addresses and serial numbers."""
    text = _HARDWARE.sub(HIDDEN, text)
    text = _BY_ID.sub(HIDDEN, text)
    return _SERIAL.sub(rf"\1\2{HIDDEN}", text)


def redacted_line(line: str) -> str:
    """Return a log line without anything that identifies the machine.

    That is hardware addresses and serial numbers, UUIDs of disks, machine
    ids, and kernel arguments that hold addresses or passwords.
    """
    line = _PRIVATE.sub(rf"\1{HIDDEN}", line)
    line = _UUID.sub(HIDDEN, redacted(line))
    return _MACHINE.sub(HIDDEN, _NAMED.sub(HIDDEN, line))

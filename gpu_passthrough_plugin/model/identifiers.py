"""What identifies machines, networks and people in a text, and stand-ins.

Addresses and ids get stand-ins that are the same for the same value
throughout one file, and stay as they are when the file is redacted again.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable

HIDDEN = "REDACTED"


class Kind(enum.StrEnum):
    """What was hidden, as it is counted."""

    CREDENTIAL = "passwords and keys"
    NETWORK = "network arguments"
    MAC = "MAC addresses"
    IP = "IP addresses"
    NAME = "host names"
    SERIAL = "serial numbers"
    ID = "UUIDs and labels"
    COMMENT = "comments"
    SCRIPT = "scripts"


# Ethernet's six octets, with the hardware type before them or not, or the
# twenty of InfiniBand and the eight of a world wide name.
_HARDWARE = re.compile(
    r"(?<![0-9a-f.])(?<![0-9a-f]{2}:)(?<![^0-9a-z][0-9a-f]{2}-)[0-9a-f]{2}(?:([:-])[0-9a-f]{2})"
    r"(?:\1[0-9a-f]{2}){4,18}(?![0-9a-f:])",
    re.IGNORECASE,
)
_OCTETS = r"(?:\d{1,3}\.){3}\d{1,3}"
# Not a kernel's version, such as 6.6.87.2-microsoft, but for the second one
# of a range; and as cloud providers name machines, ip-10-0-0-7.
_IPV4 = re.compile(
    rf"(?<![\w.-]){_OCTETS}(?!\w|-[a-z]|\.\d)"
    rf"|(?<=\d-){_OCTETS}(?![\w-]|\.\w)"
    r"|(?<=(?<!\w)ip-)(?:\d{1,3}[.-]){3}\d{1,3}(?![\w.-]*\d-)(?!\w)",
    re.IGNORECASE,
)
_IPV6 = re.compile(
    r"(?:(?<![\w:.])|(?<=[g-z]:))(?:[0-9a-f]{0,4}:){2,7}"
    rf"(?:{_OCTETS}|[0-9a-f]{{0,4}})(?!\w|:[0-9a-f:]|\.\w)",
    re.IGNORECASE,
)
# Stand-ins, those that recordings have for disks' addresses among them.
# Source: RFC 5737, RFC 3849, RFC 2544, RFC 9637,
# RFC 1112 (240.0.0.0/4, which nobody may use).
_EXAMPLES = (
    ipaddress.ip_network("192.0.2.0/24"),
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_network("198.18.0.0/15"),
    ipaddress.ip_network("240.0.0.0/8"),
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("fe80::/120"),
)
_FIRST_IPV4, _FURTHER_IPV4 = (
    int(_EXAMPLES[n].network_address) for n in (0, 3)
)
# Interfaces that are named for their address.
# Source: systemd.net-naming-scheme(7).
_BY_MAC = re.compile(r"(?<![\w-])(enx|wlx|wwx)([0-9a-f]{12})(?![0-9a-f])")
# The same as the kernel's table of IPv6 routes has them, and machine ids.
_EXAMPLE_DIGITS = ("0" * 24, "20010db8", "3fff0000", "fe800000", "f" * 32)
_STAND_IN = re.compile(rf"{HIDDEN}(?:-\d+)?")
# One word, with what udev escapes, and without the number of a partition.
_VALUE = r"(?:\\{1,2}x[0-9a-f]{2}|[^\s\"',;\\)])+?"
_END = r"(?=-part\d|[\s\"',;)]|\\(?!\\?x[0-9a-f]{2})|$)"
# Names of disks that have their serial number, and of targets on a network.
# Source: systemd, rules.d/60-persistent-storage.rules; RFC 3721; NVMe over
# Fabrics 1.1, 7.9; Linux, drivers/nvme/host/sysfs.c (wwid_show).
_DISK = re.compile(
    rf"(?<=/by-id/){_VALUE}{_END}|\bwwn-0x[0-9a-f]+"
    rf"|(?<=/by-path/)ip-{_VALUE}(?=-lun-|-part\d|[\s\"',;\\)]|$)"
    r"|(?<![\w.])(?:iqn|nqn)\.\d{4}-\d{2}\.[^\s\"',;\\)@]+"
    r"|(?<![\w.])(?:eui|naa)\.[0-9a-f]{8,32}(?![0-9a-z])"
    r"|(?<![\w.])t10\.[^\s\"',;\\)]+"
    r"|(?<![\w.])nvme\.[0-9a-f]{4}-[0-9a-f]{8}[0-9a-f-]*",
    re.IGNORECASE | re.MULTILINE,
)
_PORT = re.compile(r"(?<=[-/])((?:fc|sas|exp)-0x)([0-9a-f]{16})(?![0-9a-f])")
# The type 3 of SCSI's page of identification, and 16 bytes.
# Source: multipath.conf(5), scsi_id(8).
_WWID = re.compile(r"(?<![0-9a-z])3([0-9a-f]{32})(?![0-9a-f])", re.IGNORECASE)
_SERIAL = re.compile(
    r"(\bserial[ _-]?(?:number|no\b\.?)|\bS/N|\bSN(?=[:=])"
    r"|(?<![a-z])serial(?:_short|id)?(?=[\"'\s]{0,2}[:=])(?!:\s?8250))"
    r"([\s:=\"']*)[^\s\"',;\\)]+",
    re.IGNORECASE,
)
_UUID = re.compile(
    r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])",
    re.IGNORECASE,
)
# Of FAT, NTFS, ISO 9660, Linux's RAID, and a partition of an MBR.
_SHORT_UUID = re.compile(
    r"((?:uuid=|/by-(?:part)?uuid/)[\"']?)"
    r"([0-9a-f]{4,}(?:[:-][0-9a-f]{2,})*)(?![\w-])",
    re.IGNORECASE,
)
# Machine ids, which are in names of loader entries.
_MACHINE = re.compile(r"(?<![0-9a-fA-Fx])[0-9a-f]{32}(?![0-9a-fA-F])")
# A ZFS pool's name is its label, and what is mounted begins with it.
_LABEL = re.compile(
    rf"((?<!ID_FS_)LABEL=|/by-(?:part)?label/)"
    rf"(?:({_VALUE}){_END}|\"([^\"\n]+)|'([^'\n]+))",
    re.MULTILINE,
)
# Source: GRUB, grub-core/commands/search_wrap.c and search.c.
_SEARCH = re.compile(
    r"^([ \t]*(search(?:\.fs_label|\.fs_uuid)?)[ \t]+)([^\n]*)", re.MULTILINE
)
_BY_LABEL = frozenset({"-l", "--label", "--fs-label", "search.fs_label"})
_BY_UUID = frozenset({"-u", "--fs-uuid", "search.fs_uuid"})
# Options of search whose value is the next word.
_WITH_VALUE = frozenset({"-s", "--set", "--hint"})
# A table of device mapper's, as of dm-mod.create=: cipher and key.
# Source: Linux, Documentation/admin-guide/device-mapper/dm-crypt.rst.
_CRYPT = re.compile(
    r"(\bcrypt\s+[\w:()-]+\s+)(?:[0-9a-f]{16,}|:\d+:\w+:[^\s\"']+)(?=\s)",
    re.IGNORECASE,
)

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}+://)[^\s\"'\\]+", re.IGNORECASE)
_ACCOUNT = re.compile(
    r"(?:^|(?<=[\s/=\"',]))[^\s:@/=\"',]{1,64}:[^\s@/\"']{1,256}@"
    r"(?=[\w.\[])[^\s\"']*"
)
_REMOTE_ROOT = re.compile(r"(root=(?:iscsi|nfs4?|nbd|fcoe|live):)[^\s\"']+")


class Identifiers:
    """Replaces identifiers in the texts of one file, and counts them.

    :ivar counts: how often something was hidden, by kind.
    """

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self._stand_ins: dict[tuple[Kind, str], int] = {}
        self._host_names: re.Pattern[str] | None = None

    def hide_host_names(self, names: Iterable[str]) -> None:
        """Hide these names from now on, and what is before their dot.

        A name without a digit or a hyphen may be any word of a
        configuration, and stays.
        """
        parts = {
            part
            for name in names
            for part in (name, name.partition(".")[0])
            if re.fullmatch(r"(?=.*[\d.-])[\w.-]{4,}", part)
        } - {"localhost.localdomain"}
        if parts:
            longest_first = sorted(parts, key=lambda part: (-len(part), part))
            self._host_names = re.compile(
                rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})"
                r"(?![\w-])",
                re.IGNORECASE,
            )

    def hidden(self, text: str) -> str:
        """Return text without addresses, ids, accounts and host names."""
        text = self._behind(_URL, Kind.NETWORK, text)
        text = self._behind(_REMOTE_ROOT, Kind.NETWORK, text)
        text = self._behind(_CRYPT, Kind.CREDENTIAL, text)
        text = _ACCOUNT.sub(self._account, text)
        text = _DISK.sub(lambda m: self._named(Kind.SERIAL, m[0]), text)
        text = _HARDWARE.sub(self._mac, text)
        text = _BY_MAC.sub(self._interface, text)
        text = _IPV4.sub(self._ip, text)
        text = _IPV6.sub(self._ip, text)
        text = _PORT.sub(self._port, text)
        text = _WWID.sub(self._wwid, text)
        text = _SERIAL.sub(self._serial, text)
        text = _SEARCH.sub(self._search, text)
        text = _LABEL.sub(self._label, text)
        text = _UUID.sub(self._uuid, text)
        text = _SHORT_UUID.sub(self._short_uuid, text)
        text = _MACHINE.sub(self._machine, text)
        if self._host_names is not None:
            text = self._host_names.sub(self._host_name, text)
        return text

    def _behind(self, pattern: re.Pattern[str], kind: Kind, text: str) -> str:
        def shown(match: re.Match[str]) -> str:
            if match[0] != f"{match[1]}{HIDDEN}":
                self.counts[kind] += 1
            return f"{match[1]}{HIDDEN}"

        return pattern.sub(shown, text)

    def _named(self, kind: Kind, value: str) -> str:
        """Return ``REDACTED-7``, the same for the same value."""
        if _STAND_IN.fullmatch(value):
            return value
        return f"{HIDDEN}-{self._stand_in(kind, value)}"

    def _account(self, match: re.Match[str]) -> str:
        self.counts[Kind.CREDENTIAL] += 1
        return HIDDEN

    def _serial(self, match: re.Match[str]) -> str:
        value = match[0][len(match[1]) + len(match[2]) :]
        return f"{match[1]}{match[2]}{self._named(Kind.SERIAL, value)}"

    def _label(self, match: re.Match[str]) -> str:
        label = match[match.lastindex or 0]
        lead = match[0][: -len(label)]
        return f"{lead}{self._named(Kind.ID, label)}"

    def _search(self, match: re.Match[str]) -> str:
        """Return GRUB's search for a file system without what names it."""
        lead, command, rest = match.groups()
        words = rest.split()
        if _BY_LABEL.isdisjoint((command, *words)) and _BY_UUID.isdisjoint(
            (command, *words)
        ):
            return match[0]
        before = ("", *words)
        place = next(
            (
                number
                for number, word in enumerate(words)
                if not word.startswith("-")
                and before[number] not in _WITH_VALUE
            ),
            None,
        )
        if place is not None:
            words[place] = self._file_system(words[place])
        return lead + " ".join(words)

    def _file_system(self, word: str) -> str:
        """Return a stand-in for a label or id of a file system."""
        name = word.strip("\"'")
        if _UUID.fullmatch(name):
            return word
        uuid = _SHORT_UUID.fullmatch(f"UUID={name}")
        if uuid is not None:
            return self._short_uuid(uuid).removeprefix("UUID=")
        return self._named(Kind.ID, name)

    def _host_name(self, match: re.Match[str]) -> str:
        self.counts[Kind.NAME] += 1
        return "redacted-host"

    def _stand_in(self, kind: Kind, value: str) -> int:
        """Return the number of a value: the same for the same value."""
        self.counts[kind] += 1
        return self._stand_ins.setdefault(
            (kind, value), len(self._stand_ins) + 1
        )

    def _mac(self, match: re.Match[str]) -> str:
        separator = match[1]
        octets = match[0].split(separator)
        kept = octets[:1] if len(octets) == 7 else []
        octets = octets[len(kept) :]
        if octets[0] == "02" and set(octets[1:-2]) == {"00"}:
            return match[0]
        number = self._stand_in(Kind.MAC, ":".join(octets).lower())
        last = number.to_bytes(len(octets) - 1)
        return separator.join([*kept, "02", *(f"{b:02x}" for b in last)])

    def _interface(self, match: re.Match[str]) -> str:
        if match[2].startswith("0200000"):
            return match[0]
        octets = [match[2][at : at + 2] for at in range(0, 12, 2)]
        number = self._stand_in(Kind.MAC, ":".join(octets))
        return f"{match[1]}02{number:010x}"

    def _ip(self, match: re.Match[str]) -> str:
        text, tail = match[0], ""
        if text.endswith(":") and not text.endswith("::"):
            text, tail = text[:-1], ":"
        try:
            address = ipaddress.ip_address(text.replace("-", "."))
        except ValueError:
            return match[0]
        is_hardware = re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2})*", text)
        if (
            is_hardware
            or any(address in network for network in _EXAMPLES)
            or address.is_unspecified
            or address.is_loopback
            or text.startswith("255.")
        ):
            return match[0]
        number = self._stand_in(Kind.IP, str(address))
        if address.version == 6:
            return f"2001:db8::{number:x}{tail}"
        first = _FIRST_IPV4 if number < 256 else _FURTHER_IPV4
        stand_in = str(ipaddress.IPv4Address(first + number))
        return stand_in.replace(".", "-") if "-" in text else stand_in

    def _port(self, match: re.Match[str]) -> str:
        if match[2].startswith("0" * 8):
            return match[0]
        return f"{match[1]}{self._stand_in(Kind.SERIAL, match[2]):016x}"

    def _wwid(self, match: re.Match[str]) -> str:
        if match[1].startswith("0" * 24):
            return match[0]
        number = self._stand_in(Kind.SERIAL, match[1].lower())
        return f"3{number:032x}"

    def _uuid(self, match: re.Match[str]) -> str:
        if match[0].startswith("00000000-0000-4000-8000-"):
            return match[0]
        number = self._stand_in(Kind.ID, match[0].lower())
        return f"00000000-0000-4000-8000-{number:012x}"

    def _short_uuid(self, match: re.Match[str]) -> str:
        """Return the id with other digits, and the number of a partition."""
        lead, text = match.groups()
        if _UUID.fullmatch(text):
            return match[0]
        is_partition = re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{2}", text, re.I)
        kept = text[8:] if is_partition else ""
        text = text[: len(text) - len(kept)]
        digits = re.sub(r"[:-]", "", text)
        if digits.startswith("0000"):
            return match[0]
        number = self._stand_in(Kind.ID, text.lower())
        shown = iter(f"{number:0{len(digits)}x}")
        if number >= 1 << 4 * len(digits):
            return f"{lead}{HIDDEN}-{number}{kept}"
        masked = "".join(c if c in ":-" else next(shown) for c in text)
        return f"{lead}{masked}{kept}"

    def _machine(self, match: re.Match[str]) -> str:
        if match[0].startswith(_EXAMPLE_DIGITS):
            return match[0]
        return f"{self._stand_in(Kind.ID, match[0]):032x}"

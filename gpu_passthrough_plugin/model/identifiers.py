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
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:.])",
    re.IGNORECASE,
)
# Stand-ins, those that recordings have for disks' addresses among them.
# Source: RFC 5737, RFC 3849, RFC 2544, RFC 9637.
_EXAMPLES = (
    ipaddress.ip_network("192.0.2.0/24"),
    ipaddress.ip_network("2001:db8::/32"),
    ipaddress.ip_network("198.18.0.0/15"),
    ipaddress.ip_network("3fff::/20"),
    ipaddress.ip_network("fe80::/120"),
)
# Interfaces that are named for their address.
# Source: systemd.net-naming-scheme(7).
_BY_MAC = re.compile(r"(?<![\w-])(enx|wlx)([0-9a-f]{12})(?![0-9a-f])")
# The same as the kernel's table of IPv6 routes has them, and machine ids.
_EXAMPLE_DIGITS = ("0" * 24, "20010db8", "3fff0000", "fe800000", "f" * 32)
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
# Machine ids, which are in names of loader entries.
_MACHINE = re.compile(r"(?<![0-9a-fx])[0-9a-f]{32}(?![0-9a-f])")
_LABEL = re.compile(r"(?<=LABEL=)[^\s\"',;\\]+")

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
        self._stand_ins: dict[tuple[Kind, str], str] = {}
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
        text = _ACCOUNT.sub(self._account, text)
        text = _HARDWARE.sub(self._mac, text)
        text = _BY_MAC.sub(self._interface, text)
        text = _IPV4.sub(self._ip, text)
        text = _IPV6.sub(self._ip, text)
        text = _BY_ID.sub(lambda m: self._whole(Kind.SERIAL, m[0]), text)
        text = _SERIAL.sub(self._serial, text)
        text = _LABEL.sub(lambda m: self._whole(Kind.ID, m[0]), text)
        text = _UUID.sub(self._uuid, text)
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

    def _whole(self, kind: Kind, text: str) -> str:
        if text != HIDDEN:
            self.counts[kind] += 1
        return HIDDEN

    def _account(self, match: re.Match[str]) -> str:
        self.counts[Kind.CREDENTIAL] += 1
        return HIDDEN

    def _serial(self, match: re.Match[str]) -> str:
        if not match[0].endswith(HIDDEN):
            self.counts[Kind.SERIAL] += 1
        return f"{match[1]}{match[2]}{HIDDEN}"

    def _host_name(self, match: re.Match[str]) -> str:
        self.counts[Kind.NAME] += 1
        return "redacted-host"

    def _stand_in(self, kind: Kind, value: str) -> int:
        """Return the number of a value: the same for the same value."""
        self.counts[kind] += 1
        return int(
            self._stand_ins.setdefault(
                (kind, value.lower()), str(len(self._stand_ins) + 1)
            )
        )

    def _mac(self, match: re.Match[str]) -> str:
        separator = match[1]
        octets = match[0].split(separator)
        kept = octets[:1] if len(octets) == 7 else []
        octets = octets[len(kept) :]
        if octets[0] == "02" and set(octets[1:-2]) == {"00"}:
            return match[0]
        number = self._stand_in(Kind.MAC, ":".join(octets))
        last = [f"{number >> 8 & 255:02x}", f"{number & 255:02x}"]
        zeros = ["00"] * (len(octets) - 3)
        return separator.join([*kept, "02", *zeros, *last])

    def _interface(self, match: re.Match[str]) -> str:
        if match[2].startswith("0200000"):
            return match[0]
        octets = [match[2][at : at + 2] for at in range(0, 12, 2)]
        number = self._stand_in(Kind.MAC, ":".join(octets))
        return f"{match[1]}02{number:010x}"

    def _ip(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        is_hardware = re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2})*", match[0])
        if (
            is_hardware
            or any(address in network for network in _EXAMPLES)
            or address.is_unspecified
            or address.is_loopback
            or match[0].startswith("255.")
        ):
            return match[0]
        number = self._stand_in(Kind.IP, str(address))
        if address.version == 4:
            return f"192.0.2.{number % 256}"
        return f"2001:db8::{number:x}"

    def _uuid(self, match: re.Match[str]) -> str:
        if match[0].startswith("00000000-0000-4000-8000-"):
            return match[0]
        number = self._stand_in(Kind.ID, match[0])
        return f"00000000-0000-4000-8000-{number:012x}"

    def _machine(self, match: re.Match[str]) -> str:
        if match[0].startswith(_EXAMPLE_DIGITS):
            return match[0]
        return f"{self._stand_in(Kind.ID, match[0]):032x}"

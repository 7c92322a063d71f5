"""What may leave a host in a file: its text without secrets and names.

Every line of a recording or report passes through one ``Redaction``.  What
it hides keeps its place and form, so that the same readers read the text:
``rd.iscsi.password=REDACTED``.  Addresses and ids get stand-ins that are the
same for the same value throughout one file, and stay as they are when the
file is redacted again.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections import Counter
from collections.abc import Iterable

from gpu_passthrough_plugin.model.reading import as_text, encoded

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

# An argument's name, behind other assignments as in ``kernelopts=root=…`` or
# ``-o username=…,password=…``.
_NAME = re.compile(r"(?<![\w./-])([\w./-]++)=")
_SECRET = re.compile(
    r"passw|passphrase|passcode|secret|token|credential|set_cred|\bpsk\b"
    r"|(?:^|[._-])(?:pass|key|auth|pin|psk)(?:$|[._-])"
    r"|api_?key|rd\.luks\.(?!uuid|name|options|crypttab)",
    re.IGNORECASE,
)
# Arguments that hold addresses, hosts or accounts.  Source:
# dracut.cmdline(7); Linux, Documentation/admin-guide/nfs/nfsroot.rst and
# Documentation/networking/netconsole.rst; systemd(1); cloud-init,
# Datasource NoCloud.
_NETWORK = re.compile(
    r"(?:ip|netroot|nfsroot|nfsaddrs|cifsroot|nbdroot|fcoe|nameserver"
    r"|inst\.\w+|ks|rd\.iscsi\.\w+|rd\.znet|rd\.zfcp|rd\.route|rd\.nvmf\.\w+"
    r"|iscsi_\w+|netconsole|netsetup|domain|hostname|systemd\.hostname"
    r"|systemd\.machine_id|systemd\.setenv|ds|url|preseed/url|\w*proxy"
    r"|fetch|cloud-config-url|ignition\.\w+|coreos\.inst\.\w+|talos\.\w+"
    r"|server|host|user|username|login)",
    re.IGNORECASE,
)
# Values of ``ip=`` and the like that name nothing.
_HARMLESS = frozenset(
    {
        "any", "auto6", "both", "dhcp", "dhcp6", "either6", "ibft",
        "link-local", "none", "off", "on", "",
    }
)  # fmt: skip
_SCHEME = re.compile(r"(iscsi|nfs4?|nbd|fcoe|nvmf?|live|cifs|https?|tftp):")
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}+://)[^\s\"'\\]+", re.IGNORECASE)
_ACCOUNT = re.compile(
    r"(?:^|(?<=[\s/=\"',]))[^\s:@/=\"',]{1,64}:[^\s@/\"']{1,256}@"
    r"(?=[\w.\[])[^\s\"']*"
)
_REMOTE_ROOT = re.compile(r"(root=(?:iscsi|nfs4?|nbd|fcoe|live):)[^\s\"']+")
# ``--password hunter2``: the option, and both words.
_OPTION = re.compile(
    r"--?[\w-]{0,30}(?:passw(?:or)?d|token|secret)", re.IGNORECASE
)
_OPTION_VALUE = re.compile(
    rf"(?<!\S)({_OPTION.pattern}[ \t]+)(?!REDACTED)[^\s\"']+", re.IGNORECASE
)
# Source: Linux, lib/cmdline.c (next_arg).
_WORD = re.compile(r"(?:[^\s\"]++|\"[^\"]*+(?:\"|$))++")
# A shell's words: between double or single quotes, a comment, and others.
_SHELL = re.compile(
    r"\"(?P<double>(?:\\.|[^\"\\])*+)\"|'(?P<single>[^']*+)'"
    r"|(?P<comment>(?<![^\s;&|(])\#[^\n]*+)"
    r"|(?P<bare>(?:\\.\#?|[^\s\"'\\#]|(?<=\S)\#)++)|(?P<blank>\s++)",
    re.DOTALL,
)
# Comments that say what was done for passthrough, or took a line out of use;
# without its signature a file is no environment block.
# Source: GRUB, grub-core/lib/envblk.c.
_TELLING = re.compile(
    r"^#!|gpu-passthrough|vfio|iommu|^# GRUB Environment Block$"
    r"|^#\s*(?:alias|blacklist|install|options|softdep)\b"
)
_OWN = "gpu-passthrough"
# Of other people's programs the names are enough.
_SCRIPTS = (
    "etc/initramfs-tools/hooks/",
    "etc/initramfs-tools/scripts/",
    "etc/initcpio/hooks/",
    "etc/initcpio/install/",
)


class Redaction:
    """Hides what one file must not tell, and counts it.

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

    def summary(self) -> str:
        """Return what was hidden, such as ``MAC addresses (2)``."""
        counts = [
            f"{kind} ({self.counts[kind]})"
            for kind in Kind
            if self.counts[kind] > 0
        ]
        return ", ".join(counts) or "nothing"

    def file(self, path: str, data: bytes) -> bytes:
        """Return a file's contents, redacted.

        :param path: in the host, without a leading ``/``.
        """
        if path.startswith("sys/"):
            return data if b"\0" in data else encoded(self.ids(as_text(data)))
        if b"\0" in data:
            parts = as_text(data).split("\0")
            return encoded("\0".join(map(self.arguments, parts)))
        if path.startswith(_SCRIPTS) and _OWN not in path and len(data) > 1:
            self.counts[Kind.SCRIPT] += 1
            return f"# {HIDDEN}\n".encode()
        if path.startswith("proc/"):
            return encoded(self.arguments(as_text(data)))
        return encoded(self.shell(as_text(data), _OWN in path))

    def shell(self, text: str, is_own: bool = False) -> str:
        """Return a configuration file's text, redacted.

        :param is_own: whether its comments are this product's.
        """
        made: list[str] = []
        is_hidden = is_value_next = False
        end = 0
        for match in _SHELL.finditer(text):
            made.append(text[end : match.start()])
            end = match.end()
            word = match[0]
            if match.lastgroup == "blank":
                made.append(word)
                is_hidden = False
                is_value_next = is_value_next and "\n" not in word
            elif match.lastgroup == "comment":
                made.append(self._comment(word, is_own))
            elif is_value_next and not is_hidden:
                made.append(self._whole(Kind.CREDENTIAL, word))
                is_hidden, is_value_next = True, False
            elif not is_hidden:
                made.append(self._piece(match))
                is_hidden = match.lastgroup == "bare" and _has_private(word)
                is_value_next = _OPTION.fullmatch(word) is not None
        made.append(text[end:])
        return self.ids("".join(made))

    def _piece(self, match: re.Match[str]) -> str:
        """Return a piece of a shell's word, redacted, with its quotes."""
        if match.lastgroup == "double":
            inner = match["double"].replace('\\"', '"')
            inner = self._arguments(inner).replace('"', '\\"')
            return f'"{inner}"'
        if match.lastgroup == "single":
            return f"'{self._arguments(match['single'])}'"
        word = self._arguments(match[0])
        if not word.endswith("=") or not _has_private(word):
            return word
        # The value follows between quotes.
        self.counts[Kind.CREDENTIAL] += 1
        return f"{word}{HIDDEN}"

    def _comment(self, comment: str, is_own: bool) -> str:
        if is_own or comment == "#" or _TELLING.search(comment):
            return self._arguments(comment)
        self.counts[Kind.COMMENT] += 1
        return "#"

    def arguments(self, text: str) -> str:
        """Return a kernel command line, or a log line, redacted."""
        return self.ids(self._arguments(text))

    def _arguments(self, text: str) -> str:
        text = _OPTION_VALUE.sub(self._option, text)
        return _WORD.sub(self._argument, text)

    def _option(self, match: re.Match[str]) -> str:
        self.counts[Kind.CREDENTIAL] += 1
        return f"{match[1]}{HIDDEN}"

    def _argument(self, match: re.Match[str]) -> str:
        word = match[0]
        for name in _NAME.finditer(word):
            kind = _kind(name[1])
            if kind is None:
                continue
            value = word[name.end() :]
            value = value.strip('"')
            if value in _HARMLESS or value == HIDDEN:
                return word
            scheme = _SCHEME.match(value)
            shown = f"{scheme[0]}{HIDDEN}" if scheme else HIDDEN
            if value != shown:
                self.counts[kind] += 1
            close = '"' if word[: name.end()].count('"') % 2 else ""
            return f"{word[: name.end()]}{shown}{close}"
        return word

    def ids(self, text: str) -> str:
        """Return text without addresses, ids, accounts and host names."""
        text = self._hidden(_URL, Kind.NETWORK, text)
        text = self._hidden(_REMOTE_ROOT, Kind.NETWORK, text)
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

    def _hidden(self, pattern: re.Pattern[str], kind: Kind, text: str) -> str:
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


def _has_private(word: str) -> bool:
    return any(_kind(name) is not None for name in _NAME.findall(word))


def _kind(name: str) -> Kind | None:
    """Return what the value of an argument of this name is."""
    if _SECRET.search(name):
        return Kind.CREDENTIAL
    return Kind.NETWORK if _NETWORK.fullmatch(name) else None

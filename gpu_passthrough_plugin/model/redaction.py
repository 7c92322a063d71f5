"""What may leave a host in a file: its text without secrets and names.

Every line of a recording or report passes through one ``Redaction``.  What
it hides keeps its place and form, so that the same readers read the text:
``rd.iscsi.password=REDACTED``.  Addresses and ids get stand-ins that are the
same for the same value throughout one file, and stay as they are when the
file is redacted again.
"""

from __future__ import annotations

import re

from gpu_passthrough_plugin.model.identifiers import HIDDEN, Identifiers, Kind
from gpu_passthrough_plugin.model.reading import as_text, encoded

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
    :ivar ids: returns text without addresses, ids, accounts and host names.
    :ivar hide_host_names: hides further names from now on.
    """

    def __init__(self) -> None:
        self._identifiers = Identifiers()
        self.counts = self._identifiers.counts
        self.ids = self._identifiers.hidden
        self.hide_host_names = self._identifiers.hide_host_names

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
                made.append(self._credential(word))
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

    def _credential(self, word: str) -> str:
        if word != HIDDEN:
            self.counts[Kind.CREDENTIAL] += 1
        return HIDDEN


def _has_private(word: str) -> bool:
    return any(_kind(name) is not None for name in _NAME.findall(word))


def _kind(name: str) -> Kind | None:
    """Return what the value of an argument of this name is."""
    if _SECRET.search(name):
        return Kind.CREDENTIAL
    return Kind.NETWORK if _NETWORK.fullmatch(name) else None

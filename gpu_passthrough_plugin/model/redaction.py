"""What may leave a host in a file: its text without secrets and names.

Every line of a recording or report passes through one ``Redaction``.  What
it hides keeps its place and form, so that the same readers read the text:
``rd.iscsi.password=REDACTED``.  Addresses and ids get stand-ins that are the
same for the same value throughout one file, and stay as they are when the
file is redacted again.
"""

from __future__ import annotations

import enum
import re

from gpu_passthrough_plugin.model.identifiers import HIDDEN, Identifiers, Kind
from gpu_passthrough_plugin.model.reading import as_text, encoded

# An argument's name, behind other assignments as in ``kernelopts=root=…`` or
# ``-o username=…,password=…``.
_NAME = re.compile(r"(?<![\w./-])([\w./-]++)\+?=")
_SECRET = re.compile(
    r"passw|passphrase|passcode|secret|token|credential|set_cred|\bpsk\b"
    r"|(?:^|[._-])(?:pass(?![._-]?thr)|pw|pwd|key|auth|pin|psk)\d*(?:$|[._-])"
    r"|[a-z]pwd?$|priv(?:ate)?_?key|api_?key|crypt_?key|(?:key|pass)_?file"
    r"|rd\.luks\.(?!uuid|name|options|crypttab)",
    re.IGNORECASE,
)
# Those that are not before a colon in a log: "Sense Key : Illegal Request".
_PLAIN_SECRET = re.compile(
    r"passw|passphrase|passcode|secret|token|credential|psk|pwd?$"
    r"|priv(?:ate)?_?key|api_?key",
    re.IGNORECASE,
)
# A name, in quotes or not, and what is between it and its value.
_ASSIGNMENT = re.compile(
    r"(?P<quote>[\"']?)(?<![\w./-])(?P<name>[\w./-]{1,64})(?P=quote)"
    r"(?P<operator>[ \t]*(?:\+?=>?|:=?)[ \t]*)"
)
_ASSIGNED = re.compile(r"\"(?:\\.|[^\"\\\n])*\"?|'[^'\n]*'?|[^\s\"']+")
_OPERATOR = re.compile(r"(\+?=>?|:=?)(.*)", re.DOTALL)
_LAST_NAME = re.compile(r"(?<![\w./-])([\w./-]{1,64})(\+?=|:)?\Z")
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
# Such as rd.iscsi.firmware=1, and an IOMMU's domain=0x0010 in a log.
_NUMBER = re.compile(r"\d{1,2}|0x[0-9a-f]{1,8}")
_SCHEME = re.compile(r"(iscsi|nfs4?|nbd|fcoe|nvmf?|live|cifs|https?|tftp):")
# ``--password hunter2`` and ``--user bob:hunter2``: the option, and both.
_OPTION = re.compile(
    r"--?[\w-]{0,30}(?:passw(?:or)?d|passphrase|token|secret|pwd?)",
    re.IGNORECASE,
)
_ACCOUNT_OPTION = re.compile(r"--(?:proxy-)?user|-[uU]")
_OPTION_VALUE = re.compile(
    rf"(?<!\S)({_OPTION.pattern}[ \t]+)(?![\"']?REDACTED)"
    r"(?:\"[^\"\n]*\"?|'[^'\n]*'?|[^\s\"']+)",
    re.IGNORECASE,
)
_ACCOUNT_VALUE = re.compile(
    rf"(?<!\S)((?:{_ACCOUNT_OPTION.pattern})[ \t]+)"
    r"(?:\"[^\s:\"]+:[^\"\n]+\"?|'[^\s:']+:[^'\n]+'?|[^\s:\"']+:[^\s\"']+)"
)
# Source: Linux, lib/cmdline.c (next_arg).
_WORD = re.compile(r"(?>(?:[^\s\"]++|\"[^\"]*+(?:\"|$))+)")
# A shell's words: between double or single quotes, a comment, and others.
_SHELL = re.compile(
    r"\"(?P<double>(?>(?:\\.|[^\"\\])*))\"|'(?P<single>[^']*+)'"
    r"|(?P<comment>(?<![^\s;&|(])\#[^\n]*+)"
    r"|(?P<bare>(?>(?:\\.\#?|[^\s\"'\\#]|(?<=\S)\#)+))|(?P<blank>\s++)",
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


# A value that goes on behind the word's end: a command's output, a list.
_UNFINISHED = re.compile(r"=\s*(?:\$\(|`|\[|\|)")
_BEFORE_COMMAND = frozenset({"then", "do", "else"})


class _Awaited(enum.Enum):
    """What comes next in a shell's text, by the words before it."""

    ANYTHING = enum.auto()
    OPERATOR = enum.auto()
    VALUE = enum.auto()
    ACCOUNT = enum.auto()
    LINE = enum.auto()


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
            # Config space has no text.
            is_config = path.endswith("/config")
            return data if is_config else encoded(self.ids(as_text(data)))
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
        awaited = _Awaited.ANYTHING
        is_first, is_hidden, end = True, False, 0
        for match in _SHELL.finditer(text):
            if match.start() > end:
                made.append(text[end : match.start()])
            end = match.end()
            word = match[0]
            if match.lastgroup == "blank":
                made.append(word)
                is_hidden = False
                if "\n" in word:
                    is_first, awaited = True, _Awaited.ANYTHING
                continue
            if match.lastgroup == "comment":
                made.append(self._comment(word, is_own))
                continue
            # Behind a value in quotes, as in {"password": "x", "y": 1}.
            if is_hidden and not (
                made[-1][:1] in {'"', "'"} and word[0] in ",;}])"
            ):
                continue
            piece, is_hidden, awaited = self._next(match, awaited, is_first)
            made.append(piece)
            is_first = match.lastgroup == "bare" and _begins_command(word)
        made.append(text[end:])
        return self.ids("".join(made))

    def _next(
        self, match: re.Match[str], awaited: _Awaited, is_first: bool
    ) -> tuple[str, bool, _Awaited]:
        """Return a piece of a word, redacted, and what that tells.

        Whether the rest of the word is hidden, and what is awaited next.
        """
        word, is_bare = match[0], match.lastgroup == "bare"
        if awaited in {_Awaited.OPERATOR, _Awaited.LINE} and is_bare:
            operator = _OPERATOR.fullmatch(word)
            if operator and operator[2]:
                masked = self._masked(operator[2])
                return f"{operator[1]}{masked}", True, _Awaited.ANYTHING
            if operator:
                return word, False, _Awaited.VALUE
        if (
            awaited is _Awaited.LINE
            or (awaited is _Awaited.ACCOUNT and ":" in word)
            or (awaited is _Awaited.VALUE and not _has_name(word))
        ):
            kept = awaited if awaited is _Awaited.LINE else _Awaited.ANYTHING
            return self._masked(word), True, kept
        piece = self._piece(match)
        is_hidden = is_bare and _has_private(word)
        if is_hidden and _UNFINISHED.search(word):
            return piece, True, _Awaited.LINE
        return piece, is_hidden, _awaited(word, is_bare, is_first)

    def _piece(self, match: re.Match[str]) -> str:
        """Return a piece of a shell's word, redacted, with its quotes."""
        if match.lastgroup == "double":
            inner = match["double"].replace('\\"', '"')
            inner = self._arguments(inner).replace('"', '\\"')
            return f'"{inner}"'
        if match.lastgroup == "single":
            return f"'{self._arguments(match['single'])}'"
        word = match[0]
        if _has_private(word):
            # An escaped blank does not end a value.
            word = re.sub(r"\\\s", "_", word)
        word = self._arguments(word)
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
        text = _ACCOUNT_VALUE.sub(self._option, text)
        return _WORD.sub(self._argument, self._assignments(text))

    def _assignments(self, text: str) -> str:
        """Return text without the values that ``_WORD`` does not have.

        As in ``password = x``, ``"password": "x"`` and ``password='x y'``.
        """
        made, end = [], 0
        for match in _ASSIGNMENT.finditer(text):
            if match.start() < end or not _is_other_assignment(match):
                continue
            value = _ASSIGNED.match(text, match.end())
            if value is not None:
                made.append(text[end : match.end()])
                made.append(self._masked(value[0]))
                end = value.end()
        return "".join((*made, text[end:]))

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
            value = value.strip("\"'")
            if value in _HARMLESS or value == HIDDEN:
                return word
            if kind is Kind.NETWORK and _NUMBER.fullmatch(value.rstrip("],")):
                continue
            scheme = _SCHEME.match(value)
            shown = f"{scheme[0]}{HIDDEN}" if scheme else HIDDEN
            if value != shown:
                self.counts[kind] += 1
            close = '"' if word[: name.end()].count('"') % 2 else ""
            return f"{word[: name.end()]}{shown}{close}"
        return word

    def _masked(self, value: str) -> str:
        """Return a value hidden, with its quotes or what ends a list."""
        quote = value[0] if value[0] in "\"'" else ""
        core = value.strip(quote) if quote else value.rstrip(",;}])")
        if core not in {"", HIDDEN}:
            self.counts[Kind.CREDENTIAL] += 1
        tail = quote or value[len(core) :]
        return f"{quote}{HIDDEN}{tail}"


def _begins_command(word: str) -> bool:
    """Return whether the next word of a shell is a command."""
    return word in _BEFORE_COMMAND or word[-1] in ";{}|&("


def _has_private(word: str) -> bool:
    return any(_kind(name) is not None for name in _NAME.findall(word))


def _has_name(word: str) -> bool:
    return _NAME.match(word) is not None


def _awaited(word: str, is_bare: bool, is_first: bool) -> _Awaited:
    """Return what follows a word of a shell's."""
    if is_bare and _OPTION.fullmatch(word):
        return _Awaited.VALUE
    if is_bare and _ACCOUNT_OPTION.fullmatch(word):
        return _Awaited.ACCOUNT
    name = _LAST_NAME.search(word if is_bare else word[1:-1])
    if name is None or not _SECRET.search(name[1]):
        return _Awaited.ANYTHING
    if name[2]:
        return _Awaited.VALUE
    # GRUB's commands: password USER WORD, password_pbkdf2 USER HASH.
    is_command = is_bare and is_first and name[1].startswith("password")
    return _Awaited.LINE if is_command else _Awaited.OPERATOR


def _is_other_assignment(match: re.Match[str]) -> bool:
    """Return whether a name is a secret's whose value ``_WORD`` lacks."""
    operator = match["operator"]
    if ":" in operator:
        return _PLAIN_SECRET.search(match["name"]) is not None
    # In a kernel's command line a blank behind it ends an empty value.
    is_other = (
        operator[0] in " \t"
        or match["quote"]
        or match.string.startswith("'", match.end())
    )
    return bool(is_other) and _SECRET.search(match["name"]) is not None


def _kind(name: str) -> Kind | None:
    """Return what the value of an argument of this name is."""
    name = name.lstrip("-")
    if _SECRET.search(name):
        return Kind.CREDENTIAL
    return Kind.NETWORK if _NETWORK.fullmatch(name) else None

"""Assignments in a file that a shell sources, such as /etc/default/grub.

A value is read as far as it can be told without running the file.  What
depends on a command, a condition or an expansion other than ``$NAME`` is
``Unevaluated``, and so is everything behind a command that may do anything.

Source: POSIX.1-2017, Shell Command Language, 2.2 (Quoting), 2.6 (Word
Expansions) and 2.9 (Shell Commands); bash(1) for ``+=`` and arrays, which
dash does not have.  The tests compare with both shells.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# No text may take longer than its length: what repeats a group is atomic, and
# other quantifiers are possessive.  Python before 3.11.5 matches possessive
# quantifiers of groups wrongly.  Source: CPython issue 106052.
# Text in double quotes; a command in it may have quotes of its own, and no
# parentheses or comments.
_TO_DOUBLE_QUOTE = r"""(?>(?:[^"\\]|\\.)*)"""
_COMMAND = rf"""\$\((?>(?:\\.|'[^']*+'|"{_TO_DOUBLE_QUOTE}"|[^()"'`\\#])*)\)"""
_DOUBLE_QUOTED = (
    rf"""(?:"(?>(?:\\.|{_COMMAND}|`(?>(?:[^`\\]|\\.)*)`|\$(?!\()"""
    r"""|[^"\\`$])*)")"""
)
# A piece of a word: between double or single quotes, or outside of any.
_PIECE = rf"""(?:{_DOUBLE_QUOTED}|'[^']*+'|(?>(?:[^\s"'`;&|<>()\\]|\\.)+))"""
_ONE_PIECE = re.compile(rf"{_PIECE}?", re.DOTALL)
_PIECES = re.compile(_PIECE, re.DOTALL)
_WORD = re.compile(rf"(?>{_PIECE}*)", re.DOTALL)
_ARRAY = re.compile(rf"\((?>(?:\s|(?<=\s)#[^\n]*+|{_PIECE})*)\)", re.DOTALL)
_ARRAY_ITEM = re.compile(rf"(?<=\s)#[^\n]*+|(?>{_PIECE}+)", re.DOTALL)
_ASSIGNMENT = re.compile(
    r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_]\w*)(?P<plus>\+?)=", re.ASCII
)
# What may follow a value that is all that its line says.
_REST = re.compile(r"[ \t]*(?:;[ \t]*)?(?:(?<=[ \t;])#[^\n]*)?\r?(?=\n|\Z)")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)")
_QUOTED = rf"\\.|'[^']*'|{_DOUBLE_QUOTED}"
_COMMENT = r"(?:^|(?<=[\s;&|(]))#[^\n]*"
# It ends early at a quote that is never closed.
_LINE = re.compile(rf"(?>(?:{_QUOTED}|{_COMMENT}|[^\n\"'])*)", re.DOTALL)
_SKIPPED = re.compile(
    rf"(?P<quoted>{_QUOTED})|(?P<comment>{_COMMENT})", re.DOTALL
)
# What an expansion of one piece has to look at, outside quotes and within.
_NAME = r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})"
_BARE = re.compile(rf"\\(?P<escaped>.)|{_NAME}|[$`]", re.DOTALL | re.ASCII)
_DOUBLE = re.compile(
    rf'\\(?P<escaped>[\\"$`\n])|{_NAME}|[$`]', re.DOTALL | re.ASCII
)
_TILDE = re.compile(r"(?:\A|:)~")
_PATTERN = re.compile(r"[*?\[{~]")
# Names that a command may set, and expansions that do.
_SETTABLE = re.compile(
    r"(?<![\w$])(?<!\$\{)(?P<word>[A-Za-z_]\w*)"
    r"|\$\{(?P<altered>[A-Za-z_]\w*)[^\w}]",
    re.ASCII,
)
_EXPORT = re.compile(r"[ \t]*export(?:[ \t]+[A-Za-z_]\w*)+\s*", re.ASCII)
_ARRAY_MADE = re.compile(r"\+?=\(|\b(?:declare|local|mapfile|read|typeset)")
_SUBSTITUTION = re.compile(r"`[^`]*`|\$?\([^()]*\)")
_FUNCTION = re.compile(r"\([ \t]*\)")
_MAX_NESTED = 8
_BETWEEN = re.compile(r"[\s;&|]+")
# Commands that may set any variable, end the file or have an effect later.
_ANY_EFFECT = frozenset(
    {
        ".", "alias", "eval", "exec", "exit", "function", "return", "source",
        "trap",
    }
)  # fmt: skip
# Commands that set the variables that their arguments name.
_SETTING = frozenset(
    {
        "-v", "declare", "export", "getopts", "let", "local", "mapfile",
        "read", "readarray", "readonly", "typeset", "unset",
    }
)  # fmt: skip
_OPENING = frozenset({"case", "do", "if", "{"})
_CLOSING = frozenset({"done", "esac", "fi", "}"})
# More than any value that is looked for; a value could double in each line.
_MAX_LENGTH = 1 << 16
# Set by the shell, or by what starts it.
_PRESET = frozenset(
    {
        "BASH", "EUID", "HOME", "HOSTNAME", "IFS", "LINENO", "OLDPWD",
        "OPTIND", "PATH", "PPID", "PS1", "PS2", "PS4", "PWD", "RANDOM",
        "SECONDS", "SHELL", "SHELLOPTS", "SHLVL", "TERM", "UID", "USER", "_",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Unevaluated:
    """A value that only a shell can tell.

    :param line: the line that makes it so, with single blanks.
    :param is_array: whether it may be an array.
    """

    line: str
    is_array: bool = False


_Known = str | tuple[str, ...]
Value = _Known | Unevaluated


class Variables(NamedTuple):
    """What was assigned so far.

    :param unclear: what makes every value unclear, if anything does.
    """

    values: Mapping[str, Value] = types.MappingProxyType({})
    unclear: Unevaluated | None = None

    def value(self, name: str) -> Value:
        """Return a variable's value; one that is not assigned is empty."""
        return self.unclear or self.values.get(name, "")


_NOTHING = Variables()


class Assignment(NamedTuple):
    """One assignment that can be edited, and where the text has its value.

    :param is_added: whether it is ``NAME+=``.
    :param start: where the value begins, with its quotes; ``end`` is where
        it ends.
    :param quote: what the value is quoted with; empty for nothing.
    :param body: the value as it is written, between its quotes.
    """

    name: str
    is_added: bool
    start: int
    end: int
    quote: str
    body: str


def evaluate(text: str, variables: Variables = _NOTHING) -> Variables:
    """Return the variables after a shell that has these sourced the file."""
    reader = _Reader(text, variables)
    reader.read()
    return reader.variables


def assignments(text: str) -> tuple[Assignment, ...]:
    """Return the assignments that can be edited, in their order.

    Each is one piece of text with no more than references to variables in
    it, is all that its line does, and depends on no condition.
    """
    reader = _Reader(text, _NOTHING)
    reader.read()
    return tuple(reader.editable)


def replaced(text: str, assignment: Assignment, body: str) -> str:
    """Return the text with another body in the place of this value."""
    quote = assignment.quote or '"'
    start, end = assignment.start, assignment.end
    return f"{text[:start]}{quote}{body}{quote}{text[end:]}"


class _Reader:
    """Reads one file, a line at a time."""

    def __init__(self, text: str, variables: Variables) -> None:
        self.editable: list[Assignment] = []
        self._text = text
        self._values = dict(variables.values)
        self._unclear = variables.unclear
        # How many compound commands are open, and whether the next line is
        # run on a condition.
        self._depth = 0
        self._is_conditional = False

    @property
    def variables(self) -> Variables:
        return Variables(self._values, self._unclear)

    def read(self) -> None:
        at = 0
        while at < len(self._text) and not self._unclear:
            blank = _BLANK.match(self._text, at)
            at = blank.end() if blank else self._read_line(at) + 1
        if not self._unclear and (self._depth or self._is_conditional):
            last_line = self._text.rstrip().rpartition("\n")[2]
            self._unclear = _unevaluated(last_line)

    def _read_line(self, start: int) -> int:
        """Read a line and all that continues it; return where it ends."""
        match = _ASSIGNMENT.match(self._text, start)
        if match and not (self._depth or self._is_conditional):
            value = _value(self._text, match.end())
            rest = _REST.match(self._text, value[1])
            if rest:
                self._assign(match, *value)
                return rest.end()
        line = _LINE.match(self._text, start)
        end = line.end() if line else start
        if self._text[end : end + 1] in ("", "\n"):
            self._command(self._text[start:end])
        else:
            broken = self._text[start:].partition("\n")[0]
            self._unclear = _unevaluated(broken)
        return end

    def _assign(self, match: re.Match[str], start: int, end: int) -> None:
        name, is_added = match["name"], bool(match["plus"])
        written = self._text[start:end]
        before = self._values.get(name)
        value = _assigned(
            before,
            _evaluated(written, self.variables),
            is_added=is_added,
        )
        if value is None:
            # An array stays one when only its first element is assigned to.
            is_array = "(" in written or _may_be_array(before)
            value = _unevaluated(match[0] + written, is_array=is_array)
        self._values[name] = value
        if _is_editable(written):
            quote = written[0] if written[:1] in ('"', "'") else ""
            body = written[1:-1] if quote else written
            self.editable.append(
                Assignment(name, is_added, start, end, quote, body)
            )

    def _command(self, line: str) -> None:
        """Take in what a line that is more than an assignment may do."""
        commands = _without_comments(line)
        words = _words(commands)
        if words is None or _has_any_effect(commands, words):
            self._unclear = _unevaluated(line)
            return
        if not _EXPORT.fullmatch(commands):
            is_array = bool(_ARRAY_MADE.search(commands))
            value = _unevaluated(line, is_array=is_array)
            array = dataclasses.replace(value, is_array=True)
            for name in _settable(commands):
                before = self._values.get(name)
                self._values[name] = array if _may_be_array(before) else value
        self._depth += sum(word in _OPENING for word in words)
        self._depth -= sum(word in _CLOSING for word in words)
        self._is_conditional = commands.rstrip().endswith(("&&", "|"))
        if self._depth < 0:
            self._unclear = _unevaluated(line)


def _value(text: str, start: int) -> tuple[int, int]:
    match = _ARRAY.match(text, start) or _WORD.match(text, start)
    return (start, match.end() if match else start)


def _is_editable(written: str) -> bool:
    if not _ONE_PIECE.fullmatch(written):
        return False
    form = _DOUBLE if written.startswith('"') else _BARE
    return written.startswith("'") or not any(
        match[0] in ("$", "`") for match in form.finditer(written)
    )


def _evaluated(written: str, variables: Variables) -> _Known | None:
    """Return the value that a shell assigns; None if only a shell can tell."""
    if not written.startswith("("):
        is_one = _ONE_PIECE.fullmatch(written)
        return _piece(written, variables) if is_one else None
    items = [
        _item(item, variables)
        for item in _ARRAY_ITEM.findall(written[1:-1])
        if not item.startswith("#")
    ]
    values = [item for item in items if item is not None]
    return tuple(values) if len(values) == len(items) else None


def _item(word: str, variables: Variables) -> str | None:
    """Return one word of an array; None for what may become several."""
    values: list[str] = []
    for piece in _PIECES.findall(word):
        is_bare = piece[0] not in "\"'"
        value = _piece(piece, variables)
        if value is None or (
            is_bare and ("$" in piece or _PATTERN.search(piece))
        ):
            return None
        values.append(value)
    return "".join(values)


def _piece(piece: str, variables: Variables) -> str | None:
    if piece.startswith("'"):
        return piece[1:-1]
    if piece.startswith('"'):
        return _expanded(_DOUBLE, piece[1:-1], variables)
    return None if _TILDE.search(piece) else _expanded(_BARE, piece, variables)


def _expanded(
    form: re.Pattern[str], text: str, variables: Variables
) -> str | None:
    parts: list[str] = []
    at = 0
    for match in form.finditer(text):
        parts.append(text[at : match.start()])
        at = match.end()
        if match["escaped"]:
            parts.append(match["escaped"].removesuffix("\n"))
            continue
        name = match["plain"] or match["braced"]
        value = variables.value(name) if name else None
        if not isinstance(value, str) or name in _PRESET:
            return None
        parts.append(value)
    whole = "".join((*parts, text[at:]))
    return whole if len(whole) <= _MAX_LENGTH else None


def _assigned(
    before: Value | None, value: _Known | None, *, is_added: bool
) -> Value | None:
    """Return what a variable is after an assignment; None where unknown."""
    if value is None or (is_added and isinstance(before, Unevaluated)):
        return None
    if isinstance(value, tuple):
        if not is_added or before is None:
            return value
        return (*before, *value) if isinstance(before, tuple) else None
    if isinstance(before, tuple):
        # It is element 0 of the array that is assigned to.
        first = "".join(before[:1]) + value if is_added else value
        return (first, *before[1:])
    if isinstance(before, Unevaluated):
        return before if before.is_array else value
    return (before or "") + value if is_added else value


def _may_be_array(value: Value | None) -> bool:
    if isinstance(value, Unevaluated):
        return value.is_array
    return isinstance(value, tuple)


def _unevaluated(line: str, *, is_array: bool = False) -> Unevaluated:
    return Unevaluated(" ".join(line.split()), is_array)


def _without_comments(line: str) -> str:
    return _SKIPPED.sub(lambda m: m["quoted"] or "", line)


def _words(commands: str) -> tuple[str, ...] | None:
    """Return the words outside of quotes and substitutions.

    None where a quote, a substitution or a document is left open, so that
    what follows belongs to it.
    """
    bare = _SKIPPED.sub(" ", commands)
    for _ in range(_MAX_NESTED):
        bare = _SUBSTITUTION.sub(" ", bare)
    if "<<" in commands or any(mark in bare for mark in "()`\"'"):
        return None
    return tuple(filter(None, _BETWEEN.split(bare)))


def _has_any_effect(commands: str, words: tuple[str, ...]) -> bool:
    is_named_late = "$" in commands and not _SETTING.isdisjoint(words)
    return bool(
        is_named_late
        or not _ANY_EFFECT.isdisjoint(words)
        or "${!" in commands
        or _FUNCTION.search(_SKIPPED.sub(" ", commands))
    )


def _settable(commands: str) -> Iterator[str]:
    """Yield the names that a command may set."""
    for match in _SETTABLE.finditer(commands):
        yield match["word"] or match["altered"]

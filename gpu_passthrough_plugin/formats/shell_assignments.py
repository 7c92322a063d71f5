"""Assignments in a shell file that others source, such as GRUB's defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_ASSIGNMENT = re.compile(
    r"^(?P<lead>[ \t]*(?:export[ \t]+)?)(?P<name>[A-Za-z_]\w*)(?P<adds>\+?)=",
    re.MULTILINE,
)
_PIECE = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")|(?P<single>'[^']*')"""
    r"""|(?P<bare>(?:[^\s"'`;&|<>()\\]|\\.)+)""",
    re.DOTALL,
)
_REST = re.compile(r"[ \t]*(?:;[ \t]*)?(?:[ \t]#[^\n]*)?\r?(?=\n|\Z)")
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_ESCAPED = re.compile(r'\\([\\"$`])')


class Assignment(NamedTuple):
    """One assignment, and where in the text its value is.

    :param start: where the value begins, with its quotes; ``end`` is
        where it ends.
    :param quote: what the value is quoted with; empty for nothing, None
        where it is not one piece, or is not all of what its line does.
    """

    name: str
    is_added: bool
    start: int
    end: int
    quote: str | None
    written: str

    @property
    def body(self) -> str:
        """The value as it is written, between its quotes."""
        return self.written[1:-1] if self.quote else self.written

    @property
    def is_expression(self) -> bool:
        """Whether only a shell can tell what it comes to."""
        if self.quote == "'":
            return False
        plain = _REFERENCE.sub("", _ESCAPED.sub("", self.body))
        return self.quote is None or "$" in plain or "`" in plain


def assignments(text: str) -> tuple[Assignment, ...]:
    """Every assignment that begins a line, in their order."""
    found = []
    at = 0
    while match := _ASSIGNMENT.search(text, at):
        at = _value_end(text, match.end())
        written = text[match.end() : at]
        pieces = list(_PIECE.finditer(written))
        quote: str | None = ""
        if pieces:
            quote = written[0] if written[0] in "\"'" else ""
        is_whole = _REST.match(text, at) and not match["lead"].startswith(" ")
        if len(pieces) > 1 or not is_whole or "\t" in match["lead"]:
            quote = None
        found.append(
            Assignment(
                match["name"], bool(match["adds"]), match.end(), at, quote,
                written,
            )
        )  # fmt: skip
    return tuple(found)


def _value_end(text: str, at: int) -> int:
    while piece := _PIECE.match(text, at):
        at = piece.end()
    return at


def stray(text: str, name: str) -> str | None:
    """A line that sets ``name`` otherwise than ``assignments`` knows.

    Such as one behind ``&&``, or in a function.
    """
    known = [(a.start, a.end) for a in assignments(text)]
    for match in re.finditer(rf"\b{name}\+?=", text):
        start = text.rfind("\n", 0, match.start()) + 1
        line = text[start:].partition("\n")[0]
        is_known = any(a <= match.end() <= b for a, b in known)
        if not is_known and "#" not in text[start : match.start()]:
            return line.strip()
    return None


def value(one: Assignment, variables: Mapping[str, str | None]) -> str | None:
    """What it comes to; None where only a shell can tell.

    :param variables: what was assigned before; what was not is empty.
    """
    if one.is_expression:
        return None
    before = variables.get(one.name, "") if one.is_added else ""
    here: str | None = one.body
    if one.quote != "'":
        here = _expanded(one.body, variables)
    return None if before is None or here is None else before + here


def _expanded(body: str, variables: Mapping[str, str | None]) -> str | None:
    names = [a or b for a, b in _REFERENCE.findall(body)]
    if any(variables.get(name, "") is None for name in names):
        return None
    text = _REFERENCE.sub(lambda m: variables.get(m[1] or m[2]) or "", body)
    return _ESCAPED.sub(r"\1", text.replace("\\\n", ""))


def replaced(text: str, one: Assignment, body: str) -> str:
    """The text in which this assignment's value has another body."""
    quote = one.quote or '"'
    return f"{text[: one.start]}{quote}{body}{quote}{text[one.end :]}"

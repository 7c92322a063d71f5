"""Three-way merges: one change is undone, and a later edit is kept.

Texts are merged by lines as diff3(1) does, and lines that both changed by
words: an argument that others added next to one of ours is not a conflict.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

Lines = Sequence[bytes]
Place = tuple[int, int, int]

# An argument in a quoted list is changed by itself.
_TOKEN = re.compile(rb"([ \t]*)(\n|[\"']|[^\s\"']+|\s|\Z)")


class _Edit(NamedTuple):
    """Tokens ``start`` to ``end`` of the base become ``text``."""

    start: int
    end: int
    text: Sequence[_Token]

    def conflicts(self, other: _Edit) -> bool:
        """Return whether it is not clear what both come to."""
        if self == other:
            return False
        if self.start == self.end == other.start == other.end:
            return True
        overlap = max(self.start, other.start) < min(self.end, other.end)
        is_inside = (
            self.start < other.start == other.end < self.end
            or other.start < self.start == self.end < other.end
        )
        # What both remove is removed; what was added amid it stays.
        if overlap:
            return bool(self.text or other.text)
        return is_inside and bool(self._taken(other).text)

    def _taken(self, other: _Edit) -> _Edit:
        """Return the one of the two that removes something."""
        return self if self.start < self.end else other


class _Token(NamedTuple):
    """A word, and the blanks before it."""

    blanks: bytes
    word: bytes


def merged(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Return ``theirs`` with the change from ``base`` to ``ours``.

    Lines are merged first, then words within the lines that both changed.
    None where both changed the same words.
    """
    parts: list[bytes] = []
    for old, mine, other in regions(*map(_lines, (base, ours, theirs))):
        if mine in (old, other):
            parts += other
        elif other == old:
            parts += mine
        else:
            part = _merged_lines(old, mine, other)
            if part is None:
                return None
            parts.append(part)
    return _joined_lines(parts)


def regions(
    base: Lines, ours: Lines, theirs: Lines
) -> Iterator[tuple[Lines, Lines, Lines]]:
    """Yield each line that both kept, and what stands between such lines.

    What both added at one place is in one region.
    """
    mine, other = _matched(base, ours), _matched(base, theirs)
    ends = (len(base), len(ours), len(theirs))
    start = (0, 0, 0)
    for number in range(len(base)):
        if number not in mine or number not in other:
            continue
        here = (number, mine[number], other[number])
        if here != start:
            yield _between(base, ours, theirs, start, here)
        line = base[number : number + 1]
        yield line, line, line
        start = (here[0] + 1, here[1] + 1, here[2] + 1)
    if start != ends:
        yield _between(base, ours, theirs, start, ends)


def _between(
    base: Lines, ours: Lines, theirs: Lines, start: Place, end: Place
) -> tuple[Lines, Lines, Lines]:
    return (
        base[start[0] : end[0]],
        ours[start[1] : end[1]],
        theirs[start[2] : end[2]],
    )


def _matched(base: Lines, changed: Lines) -> Mapping[int, int]:
    """Return where each line that was kept stands in the changed ones."""
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    return {
        block.a + at: block.b + at
        for block in matcher.get_matching_blocks()
        for at in range(block.size)
    }


def _joined_lines(parts: Iterable[bytes]) -> bytes:
    """Return the lines as a text; each but the last has an end."""
    text = bytearray()
    for part in filter(None, parts):
        if text and not text.endswith(b"\n"):
            text += b"\n"
        text += part
    return bytes(text)


def added(base: bytes, changed: bytes, within: bytes) -> tuple[str, ...]:
    """Return the words that ``changed`` added and ``within`` still has."""
    old, now = set(_words(base)), set(_words(within))
    words = (w for w in _words(changed) if w in now and w not in old)
    return tuple(dict.fromkeys(w.decode(errors="replace") for w in words))


def _merged_lines(base: Lines, ours: Lines, theirs: Lines) -> bytes | None:
    """Return the merge of lines that both changed.

    Adjacent changes conflict by line, so merge them by argument: an argument
    that others added after one of ours is kept.  A line that ours added as a
    whole is not merged: what is left of it would mean something else.
    """
    lines = _applied(
        *([_Token(b"", line) for line in p] for p in (base, ours, theirs))
    )
    if lines is not None:
        return _joined_lines(token.word for token, _ in lines)
    if not ours:
        return None
    words = _applied(*(_tokens(b"".join(p)) for p in (base, ours, theirs)))
    return None if words is None else _joined_words(words)


def _edits(base: Sequence[_Token], changed: Sequence[_Token]) -> list[_Edit]:
    matcher = difflib.SequenceMatcher(
        None,
        [token.word for token in base],
        [token.word for token in changed],
        autojunk=False,
    )
    return [
        _Edit(start, end, changed[low:high])
        for tag, start, end, low, high in matcher.get_opcodes()
        if tag != "equal"
    ]


def _applied(
    base: Sequence[_Token], ours: Sequence[_Token], theirs: Sequence[_Token]
) -> list[tuple[_Token, bool]] | None:
    """Return the base with the edits of both; None where two conflict.

    Each token comes with whether a word before it in the line is removed.
    """
    mine, other = _edits(base, ours), _edits(base, theirs)
    if any(a.conflicts(b) for a in mine for b in other):
        return None
    # What both do is done once.
    edits = sorted({(*e[:2], tuple(e.text)) for e in (*mine, *other)})
    removed = {i for start, end, _ in edits for i in range(start, end)}
    applied = []
    is_first = False
    for number, token in enumerate((*base, None)):
        texts = [
            t for start, _, text in edits if start == number for t in text
        ]
        stays = [token] if token and number not in removed else []
        for each in (*texts, *stays):
            applied.append((each, is_first))
            is_first = False
        if token and number in removed and not texts and not token.blanks:
            is_first = is_first or token.word != b"\n"
    return applied


def _joined_words(tokens: Sequence[tuple[_Token, bool]]) -> bytes:
    parts: list[bytes] = []
    for token, is_first in tokens:
        last = parts[-1] if parts else b""
        parts += (_blanks(token, last, is_first), token.word)
    return b"".join(parts)


def _blanks(token: _Token, last: bytes, is_first: bool) -> bytes:
    """Return what goes between a token and the one before it."""
    if _is_word(token.word) and _is_word(last):
        return token.blanks or b" "
    return b"" if is_first else token.blanks


def _is_word(token: bytes) -> bool:
    return bool(token.strip(b"\"'")) and not token.isspace()


def _tokens(data: bytes) -> list[_Token]:
    return [_Token(*match.groups()) for match in _TOKEN.finditer(data)]


def _lines(data: bytes) -> list[bytes]:
    """Return the lines with their ends; only a line feed ends one."""
    return list(re.findall(rb"[^\n]*\n|[^\n]+", data))


def _words(data: bytes) -> Iterator[bytes]:
    """Yield the words of the lines that are no comments."""
    for line in _lines(data):
        if not line.lstrip().startswith(b"#"):
            yield from re.findall(rb"[^\s\"']+", line)

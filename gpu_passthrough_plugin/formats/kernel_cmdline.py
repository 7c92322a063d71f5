"""Kernel arguments as whole words: what stands there, what is to stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import kernel_cmdline_edit as corrections
from gpu_passthrough_plugin.formats.word import parsed
from gpu_passthrough_plugin.model.arguments import Arguments

# Source: Linux, lib/cmdline.c (next_arg): blanks between double quotes
# are of the word; single quotes mean nothing.
_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
# What follows is init's.  Source: Linux, kernel/params.c (parse_args).
_END = "--"


class Edited(NamedTuple):
    """Words that say what is wanted.

    :param notes: what an operator should know, a line each.
    """

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Text(NamedTuple):
    """The same as text, in which all else keeps its bytes."""

    text: str
    notes: tuple[str, ...] = ()


def split(text: str) -> tuple[str, ...]:
    """The words of a command line."""
    return tuple(_WORD.findall(text))


def is_satisfied(words: Sequence[str], wanted: Arguments) -> bool:
    """Whether the kernel is told all that is wanted, and nothing against."""
    ours = [parsed(w) for w in words[: _end(words)]]
    return not (
        missing(words, wanted)
        or any(corrections.is_against(w, wanted) for w in ours)
    )


def missing(words: Sequence[str], wanted: Arguments) -> tuple[str, ...]:
    """Whole words that are wanted and not said."""
    ours = [parsed(w) for w in words[: _end(words)]]
    return (
        *(w for w in wanted.words if not corrections.is_said(ours, w)),
        *(
            f"{name}={','.join(values)}"
            for name, values in wanted.lists
            if values and not corrections.is_listed(ours, name, values)
        ),
    )


def edited(words: Sequence[str], wanted: Arguments) -> Edited:
    """These words, corrected, and behind them what they lack.

    Nothing is added behind ``--``, and what is init's is not touched.
    """
    end = _end(words)
    mended = corrections.corrected(words[:end], wanted)
    ours = tuple(w for w in mended.words if w is not None)
    more = missing(ours, wanted)
    return Edited((*ours, *more, *words[end:]), mended.notes)


def rewritten(text: str, wanted: Arguments) -> Text:
    """The same for a command line as it is written."""
    return _rewritten(text, wanted, is_completed=True)


def corrected(text: str, wanted: Arguments) -> Text:
    """A command line without what is wrong in it; nothing is added."""
    return _rewritten(text, wanted, is_completed=False)


def _rewritten(text: str, wanted: Arguments, *, is_completed: bool) -> Text:
    found = list(_WORD.finditer(text))
    words = [match.group() for match in found]
    end = _end(words)
    mended = corrections.corrected(words[:end], wanted)
    more: tuple[str, ...] = ()
    if is_completed:
        more = missing([w for w in mended.words if w is not None], wanted)
    fates = (*mended.words, *more, *words[end:])
    gaps = _gaps(text, found)
    gaps[end:end] = [" "] * len(more)
    kept = [(g, w) for g, w in zip(gaps, fates, strict=True) if w is not None]
    rest = "".join((gap or " ") + word for gap, word in kept[1:])
    body = kept[0][1] + rest if kept else ""
    head, tail = _around(text, found)
    return Text(f"{head}{body}{tail}", mended.notes)


def _gaps(text: str, found: Sequence[re.Match[str]]) -> list[str]:
    """What stands before each word."""
    ends = (0, *(match.end() for match in found))
    starts = (match.start() for match in found)
    return [text[a:b] for a, b in zip(ends, starts, strict=False)]


def _around(text: str, found: Sequence[re.Match[str]]) -> tuple[str, str]:
    """What stands before the first word, and after the last."""
    if not found:
        return "", text
    return text[: found[0].start()], text[found[-1].end() :]


def _end(words: Sequence[str]) -> int:
    """How many words there are before what nothing can be added to.

    A quote that is never closed would take it into its word.
    """
    for at, word in enumerate(words):
        if word == _END or word.count('"') % 2:
            return at
    return len(words)

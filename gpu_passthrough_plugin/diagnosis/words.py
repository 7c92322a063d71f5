"""Whether a kernel command line says what it should."""

from __future__ import annotations

from collections.abc import Sequence

# What follows is init's.  Source: kernel, kernel/params.c (parse_args).
_END = "--"


def lacking(words: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted words that the line does not say."""
    return tuple(word for word in wanted if not is_said(words, word))


def is_said(words: Sequence[str], wanted: str) -> bool:
    """Whether a word is there, or lists all that it lists.

    Of a module's parameter the last one counts: it forgets those before.
    """
    end = words.index(_END) if _END in words else len(words)
    name, values = _parsed(wanted)
    same = [v for n, v in map(_parsed, words[:end]) if n == name]
    if "." in name and not name.startswith("rd."):
        same = same[-1:]
    return any(values <= there for there in same)


def _parsed(word: str) -> tuple[str, frozenset[str]]:
    """Name and values; ``-`` and ``_`` in a name are the same.

    Source: kernel, kernel/params.c (parameq).
    """
    spelled, equals, value = word.replace('"', "").partition("=")
    values = frozenset(value.split(",")) if equals else frozenset()
    return spelled.replace("-", "_"), values

"""Tables that fit a terminal: broken between words, or a block a row."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

Cell = Sequence[str]
"""The lines of one cell; at least one."""


def lines(
    names: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
) -> Iterator[str]:
    """Yield the lines of a table that is too wide for a terminal.

    No word is broken: where the words of a row do not fit side by side,
    each row is a block with a line or more for each column.

    :param rows: at least one, each with as many cells as there are names.
    """
    columns = [
        [[name], *(row[at] for row in rows)] for at, name in enumerate(names)
    ]
    least = [max(map(_longest_word, column)) for column in columns]
    free = width - 1 - sum(w + 3 for w in least)
    if free < 0:
        yield from _blocks(names, rows, width)
        return
    preferred = [max(map(_longest_line, column)) for column in columns]
    widths = _widened(least, preferred, free)
    rule = "+" + "+".join("-" * (w + 2) for w in widths) + "+"
    yield rule
    yield from _row([[name] for name in names], widths)
    yield rule
    for row in rows:
        yield from _row(row, widths)
    yield rule


def _longest_word(cell: Cell) -> int:
    return max((len(w) for line in cell for w in line.split()), default=0)


def _longest_line(cell: Cell) -> int:
    return max(map(len, cell), default=0)


def _widened(
    least: Sequence[int], preferred: Sequence[int], free: int
) -> list[int]:
    """Return widths: what is free goes to the narrowest that want more."""
    widths = list(least)
    for _ in range(free):
        hungry = [n for n, w in enumerate(widths) if w < preferred[n]]
        if not hungry:
            break
        widths[min(hungry, key=lambda n: widths[n])] += 1
    return widths


def _wrapped(cell: Cell, width: int) -> list[str]:
    return [
        part
        for line in cell
        for part in textwrap.wrap(
            line, width, break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]


def _row(cells: Sequence[Cell], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [_wrapped(c, w or 1) for c, w in zip(cells, widths, strict=True)]
    for number in range(max(map(len, wrapped))):
        texts = (
            f"{cell[number] if number < len(cell) else '':<{width}}"
            for cell, width in zip(wrapped, widths, strict=True)
        )
        yield f"| {' | '.join(texts)} |"


def _blocks(
    names: Sequence[str], rows: Sequence[Sequence[Cell]], width: int
) -> Iterator[str]:
    label = max(map(len, names)) + 2
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(names, row, strict=True):
            parts = _wrapped(cell, max(width - label, 1))
            for at, part in enumerate(parts):
                yield f"{'' if at else name:<{label}}{part}".rstrip()

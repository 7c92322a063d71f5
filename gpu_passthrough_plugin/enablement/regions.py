"""Where two versions of one text differ from it, side by side."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

Lines = Sequence[bytes]
Place = tuple[int, int, int]


def regions(
    base: Lines, ours: Lines, theirs: Lines
) -> Iterator[tuple[Lines, Lines, Lines]]:
    """What stands between lines that both left, and each such line.

    What was put in on both sides of one place is in one region.
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
    """Where each line that was left stands in the changed ones."""
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    return {
        block.a + at: block.b + at
        for block in matcher.get_matching_blocks()
        for at in range(block.size)
    }

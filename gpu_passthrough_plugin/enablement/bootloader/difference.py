"""What a command is to add to a command line, and what to take off it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Difference(NamedTuple):
    """Whole words; true where there are any."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)

    @property
    def inverse(self) -> Difference:
        return Difference(self.removed, self.added)


def difference(before: Sequence[str], after: Sequence[str]) -> Difference:
    """What makes the one the other, in the order of each."""
    added = Counter(after) - Counter(before)
    removed = Counter(before) - Counter(after)
    return Difference(_ordered(after, added), _ordered(before, removed))


def _ordered(words: Sequence[str], count: Counter[str]) -> tuple[str, ...]:
    return tuple(
        word for word in dict.fromkeys(words) for _ in range(count[word])
    )

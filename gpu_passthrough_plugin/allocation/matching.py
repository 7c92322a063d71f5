"""How much of a request some primaries satisfy, when aliases overlap."""

from __future__ import annotations

from collections.abc import Sequence

Kind = frozenset[int]
"""The positions of a request's items that one primary could count for."""


def satisfied(
    kinds: Sequence[Kind], supply: Sequence[int], counts: Sequence[int]
) -> int:
    """How many of the ``counts`` can be met at once; their sum at best.

    A primary counts for one item only: a bipartite matching, found by
    augmenting paths.

    :param supply: how many primaries there are of each kind.
    :param counts: how many each item asks for.
    """
    left = list(supply)
    given = [[0] * len(counts) for _ in kinds]
    met = 0
    for item, count in enumerate(counts):
        for _ in range(count):
            if not _augment(item, kinds, left, given, set()):
                break
            met += 1
    return met


def _augment(
    item: int,
    kinds: Sequence[Kind],
    left: list[int],
    given: list[list[int]],
    seen: set[int],
) -> bool:
    """Whether ``item`` got one more, if need be from one that has a choice."""
    for index, kind in enumerate(kinds):
        if item not in kind or index in seen:
            continue
        seen.add(index)
        if left[index]:
            left[index] -= 1
            given[index][item] += 1
            return True
        for other in kind:
            if given[index][other] and _augment(
                other, kinds, left, given, seen
            ):
                given[index][other] -= 1
                given[index][item] += 1
                return True
    return False

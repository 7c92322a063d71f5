"""How much of a request some primaries satisfy, when aliases overlap."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation.search import satisfied

BOTH, FIRST, SECOND = frozenset({0, 1}), frozenset({0}), frozenset({1})


@pytest.mark.parametrize(
    ("item_sets", "supply", "counts", "expected"),
    [
        ([], [], [1], 0),
        ([FIRST], [3], [2], 2),
        ([FIRST], [1], [2], 1),
        ([BOTH], [1], [1, 1], 1),
        ([BOTH], [2], [1, 1], 2),
        # The first item must give the primary that both could have back.
        ([BOTH, FIRST], [1, 1], [1, 1], 2),
        ([BOTH, FIRST, SECOND], [1, 1, 1], [1, 2], 3),
        # A chain: 0 takes from 1, which takes from 2.
        (
            [BOTH, frozenset({1, 2}), frozenset({2})],
            [1, 1, 1],
            [1, 1, 1],
            3,
        ),
    ],
)
def test_satisfied(
    item_sets: list[frozenset[int]],
    supply: list[int],
    counts: list[int],
    expected: int,
) -> None:
    assert satisfied(item_sets, supply, counts) == expected

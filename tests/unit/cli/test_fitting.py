"""Tables that are too wide for a terminal fit it, and lose no word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.cli import fitting, main
from gpu_passthrough_plugin.discovery import recorded_tree

_WORD = st.text(alphabet="abc:0-", min_size=1, max_size=14)
_LINE = st.lists(_WORD, max_size=4).map(" ".join)
_CELL = st.lists(_LINE, min_size=1, max_size=3)
_ROWS = st.lists(st.tuples(_CELL, _CELL, _CELL), min_size=1, max_size=4)
_NAMES = ("Address", "IOMMU Group", "Name")


def _words(lines: list[str]) -> list[str]:
    return sorted(" ".join(lines).replace("|", " ").split())


@given(_ROWS, st.integers(min_value=30, max_value=90))
def test_each_word_is_printed_whole_within_the_width(
    rows: list[tuple[list[str], ...]], width: int
) -> None:
    lines = list(fitting.lines(_NAMES, rows, width))
    assert max(map(len, lines)) <= width
    text = [line for line in lines if not line.startswith("+")]
    cells = [line for row in rows for cell in row for line in cell]
    heads = 1 if lines[0].startswith("+") else len(rows)
    assert _words(text) == _words([*cells, *(_NAMES * heads)])


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("words", ["device list", "group list -f table"])
def test_a_listing_fits(
    words: str, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--recording", recorded_tree.SEED, *words.split()]
    assert main.main([*call, "--max-width", str(width)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert out.startswith("Address" if "device" in words else "Group") is (
        width == 80
    )
    assert "0000:0a:03.0 " in out or "0000:0a:03.0\n" in out

"""The guide's table of threats: each row names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "doc/source/admin/security.rst"
TEST = re.compile(r"``(tests/[\w/]+\.py)(?:::(\w+))?``")


def rows() -> list[list[str]]:
    """Return the cells of the table, without its header."""
    table = PAGE.read_text().partition(".. list-table::")[2]
    lines = table.split("\n   * - ")[1:]
    return [re.split(r"\n     - ", row) for row in lines][1:]


def test_each_row_has_tests_that_there_are() -> None:
    assert len(rows()) > 15
    for row in rows():
        assert len(row) == 5, row
        named = TEST.findall(row[-1])
        assert named, row
        for path, name in named:
            text = (CHECKOUT / path).read_text()
            wanted = f"def {name}(" if name else "def test_"
            assert wanted in text, (path, name)

"""A recorded host to act on, and which part of campaigns is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.lab import campaign
from tests.functional.world import World

# How many of the tests marked as rotating a part of the campaigns has.
ROTATING = 2


def pytest_report_header() -> str:
    return campaign.header()


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave some of the rotating tests, where a part is to be run."""
    if not campaign.is_part():
        return
    rotating = [i for i in items if i.get_closest_marker("rotating")]
    drawn = set(campaign.chosen(sorted(i.nodeid for i in rotating), ROTATING))
    left = [i for i in rotating if i.nodeid not in drawn]
    config.hook.pytest_deselected(items=left)
    items[:] = [i for i in items if i not in left]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.close()

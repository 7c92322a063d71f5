"""A recorded host to act on, and which part of campaigns is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.lab import campaign
from tests.functional.world import World


def pytest_report_header() -> str:
    return campaign.header()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        made.close()

"""Fixtures: a Placement, and an empty ledger in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from tests.functional.placement.server import PlacementServer, empty


@pytest.fixture(scope="session")
def placement_server() -> Iterator[PlacementServer]:
    """Start Placement once for all tests of a process."""
    with PlacementServer() as server:
        yield server


@pytest.fixture
def placement_ledger(
    placement_server: PlacementServer,
) -> Iterator[PlacementLedger]:
    """Return an empty ledger in it."""
    ledger = placement_server.ledger()
    empty(ledger)
    yield ledger
    ledger.close()


@pytest.fixture
def placement_url(placement_server: PlacementServer) -> str:
    """Return its URL."""
    return placement_server.url

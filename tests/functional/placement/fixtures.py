"""A Placement, and a ledger in it, for the tests that name them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from tests.functional.placement.server import PlacementServer, emptied


@pytest.fixture(scope="session")
def placement_server() -> Iterator[PlacementServer]:
    """Placement, for all the tests of a process."""
    with PlacementServer() as found:
        yield found


@pytest.fixture
def placement_ledger(
    placement_server: PlacementServer,
) -> Iterator[PlacementLedger]:
    """An empty ledger in it."""
    found = placement_server.ledger()
    yield emptied(found)
    found.close()


@pytest.fixture
def placement_url(placement_server: PlacementServer) -> str:
    """Where it is."""
    return placement_server.url

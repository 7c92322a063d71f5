"""The ledger in a real Placement: the suite of every ledger, and its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from tests.functional import test_ledger as suite
from tests.functional.placement.server import PlacementServer, emptied

# What holds of every ledger: pytest takes the ``ledger`` of this module.
globals().update(
    {name: of for name, of in vars(suite).items() if name.startswith("test_")}
)


@pytest.fixture(scope="module")
def server() -> Iterator[PlacementServer]:
    with PlacementServer() as found:
        yield found


@pytest.fixture
def ledger(server: PlacementServer) -> Iterator[PlacementLedger]:
    found = server.ledger()
    yield emptied(found)
    found.close()

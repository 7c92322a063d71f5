"""The tests of every ledger's driver, with Placement as the ledger."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from tests.functional import (
    test_ledger,
    test_ledger_claim_units,
    test_ledger_refusals,
)

pytest_plugins = ("tests.functional.placement.fixtures",)

# They use the ``ledger`` of this module.
globals().update(
    {
        name: test
        for suite in (
            test_ledger,
            test_ledger_claim_units,
            test_ledger_refusals,
        )
        for name, test in vars(suite).items()
        if name.startswith("test_")
    }
)


@pytest.fixture
def ledger(placement_ledger: PlacementLedger) -> PlacementLedger:
    return placement_ledger

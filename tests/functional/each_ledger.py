"""A test that holds for whatever keeps the ledger, with each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin.allocation.driver import (
    LedgerDriver,
    LedgerSettings,
)
from gpu_passthrough_plugin.allocation.placement.ledger import (
    PlacementLedger,
)
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger

LEDGERS = ("sql", "placement")


@contextlib.contextmanager
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[LedgerDriver]:
    """Give the ledger that a fixture with the parameters ``LEDGERS`` is of.

    Its module has the fixtures of Placement as a plugin.
    """
    if request.param == "placement":
        kept: PlacementLedger = request.getfixturevalue("placement_ledger")
        yield kept
        return
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with contextlib.closing(SqlLedger(LedgerSettings(url))) as ledger:
        ledger.sync()
        yield ledger

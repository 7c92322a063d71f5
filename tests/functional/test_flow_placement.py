"""Guests whose units Placement keeps: attached, detached, gone, released.

The tests of the same on SQLite: they use the ``world`` of this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional import (
    test_attach,
    test_attach_live,
    test_flow_gone,
)
from tests.functional.lab import campaign
from tests.functional.placement.server import PlacementServer, empty
from tests.functional.world import World

pytest_plugins = ("tests.functional.placement.fixtures",)

# Those that kill or refuse each act take minutes here.
_LONG = (
    "test_a_release_that_dies_is_completed_without_libvirt",
    "test_one_that_dies_at_each_act",
    "test_each_act_that_fails_is_undone",
    "test_each_plug_that_fails_is_undone",
    "test_all_are_released_after_the_host_went_down",
)
# Its commands open the ledger that a file names, in SQLite.
_OF_SQLITE = ("test_the_commands",)

define = test_flow_gone.define
_LEFT_OUT = {*_OF_SQLITE, *(() if campaign.is_whole() else _LONG)}
for _module in (test_attach, test_attach_live, test_flow_gone):
    globals().update(
        {
            name: test
            for name, test in vars(_module).items()
            if name.startswith("test_") and name not in _LEFT_OUT
        }
    )


@pytest.fixture
def world(
    placement_server: PlacementServer, tmp_path: Path
) -> Iterator[World]:
    ledger = placement_server.ledger()
    empty(ledger)
    made = World(tmp_path, ledger=ledger)
    try:
        yield made
    finally:
        made.close()

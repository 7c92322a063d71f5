"""Placement keeps no events: the host that acts keeps them in a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.allocation.load import load
from gpu_passthrough_plugin.host.event_log import EventFile
from gpu_passthrough_plugin.model.event import EventQuery, Retention
from gpu_passthrough_plugin.model.unit import State
from tests.functional import test_ledger_events
from tests.functional.placement.server import PlacementServer, empty
from tests.functional.test_ledger_events import ALICE
from tests.unit.allocation.build import unit

pytest_plugins = ("tests.functional.placement.fixtures",)

# The tests of every ledger: they use the ``recorded`` of this module.
globals().update(
    {
        name: test
        for name, test in vars(test_ledger_events).items()
        if name.startswith("test_")
    }
)


@pytest.fixture
def recorded(
    placement_server: PlacementServer, tmp_path: Path
) -> Iterator[LedgerDriver]:
    made = placement_server.ledger()
    empty(made)
    made.close()
    settings = placement_server.settings()
    log = EventFile(str(tmp_path / "state" / "events.jsonl"), Retention())
    ledger = load(
        "placement",
        dataclasses.replace(settings, actor=ALICE, event_log=log),
    )
    yield ledger
    ledger.close()


def test_a_file_that_cannot_be_written_fails_no_change(
    recorded: LedgerDriver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "events.jsonl").mkdir()
    recorded.publish("h", [unit(1)])
    (record,) = recorded.records()
    recorded.move(record, State.QUARANTINED, reason="loud")
    assert [r.state for r in recorded.records()] == [State.QUARANTINED]
    assert "h/0000:01:00.0 quarantined" in caplog.text
    with pytest.raises(errors.Unavailable):
        recorded.events(EventQuery())

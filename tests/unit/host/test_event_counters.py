"""What processes of a host count together."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from pathlib import Path

from gpu_passthrough_plugin.host.event_counters import EventCounters
from gpu_passthrough_plugin.model.metric import CountedEvent

RESET = CountedEvent.RESET


def count(folder: str, number: int) -> None:
    counters = EventCounters(folder, wait_s=60)
    for _ in range(number):
        counters.count(RESET, "flr", "done")


def test_several_processes_count_together(tmp_path: Path) -> None:
    folder = f"{tmp_path}/state/metrics"
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=count, args=(folder, 25)) for _ in "abc"]
    for other in others:
        other.start()
    for other in others:
        other.join()
    counters = EventCounters(folder)
    counters.count(CountedEvent.CLAIM_CONFLICT, "hook")
    assert counters.read() == {
        ("reset", "flr", "done"): 75,
        ("claim_conflict", "hook"): 1,
    }
    assert os.listdir(folder) == ["events.json"]


def test_a_lock_that_is_kept_costs_a_moment_and_the_count(
    tmp_path: Path,
) -> None:
    counters = EventCounters(str(tmp_path))
    counters.count(RESET, "pm", "done")
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    begun_s = time.monotonic()
    counters.count(RESET, "pm", "done")
    assert time.monotonic() - begun_s < 1
    os.close(folder)
    assert counters.read() == {("reset", "pm", "done"): 1}


def test_nothing_that_is_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    counters = EventCounters(f"{tmp_path}/file/metrics")
    counters.count(RESET, "pm", "done")
    assert counters.read() == {}
    damaged = EventCounters(str(tmp_path))
    for text in ("{", "[[]]", "[1]", '{"a": 1}', '[["reset", "many"]]'):
        (tmp_path / "events.json").write_text(text)
        assert damaged.read() == {}
        damaged.count(RESET, "pm", "done")
        assert damaged.read() == {("reset", "pm", "done"): 1}


def test_the_file_stays_small(tmp_path: Path) -> None:
    counters = EventCounters(str(tmp_path))
    for number in range(100):
        counters.count(RESET, f"method-{number}", "done")
    assert len(counters.read()) == 64

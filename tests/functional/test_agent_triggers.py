"""What begins a pass of the agent, with events that umockdev emulates."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = ("removed", "stranger", "own", "storm", "touched")


class Story(NamedTuple):
    """What a loop did in eleven seconds.

    :param passes: when each began, in seconds since the first.
    """

    passes: list[float]
    said: list[str]
    peak_kib: int


@pytest.fixture(scope="module")
def stories(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Story]:
    """What loops did, which ran at the same time."""
    folder = str(tmp_path_factory.mktemp("marked"))
    module = ("-m", "tests.functional.emulated_events")
    runs = {
        scenario: subprocess.Popen(
            ("umockdev-wrapper", sys.executable, *module, scenario, folder),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for scenario in SCENARIOS
    }
    told = {}
    for scenario, run in runs.items():
        output, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
        told[scenario] = Story(**json.loads(output))
    return told


def test_a_device_that_goes_begins_a_pass(
    stories: Mapping[str, Story],
) -> None:
    told = stories["removed"]
    assert (len(told.passes), told.said) == (2, [])
    assert told.passes[1] < 8


def test_other_subsystems_begin_none(stories: Mapping[str, Story]) -> None:
    assert stories["stranger"].passes == [0.0]


def test_what_a_pass_does_begins_one_more_at_most(
    stories: Mapping[str, Story],
) -> None:
    """That one changes nothing, and so nothing begins another."""
    assert len(stories["own"].passes) == 3


def test_a_storm_costs_a_pass_in_some_seconds(
    stories: Mapping[str, Story],
) -> None:
    told = stories["storm"]
    gaps = [b - a for a, b in itertools.pairwise(told.passes)]
    assert 2 <= len(gaps) <= 4
    assert min(gaps) >= 2.9
    assert told.peak_kib < stories["stranger"].peak_kib + 10_000


def test_a_marker_that_is_touched_begins_a_pass(
    stories: Mapping[str, Story],
) -> None:
    told = stories["touched"]
    assert (len(told.passes), told.said) == (2, [])
    assert told.passes[1] < 10

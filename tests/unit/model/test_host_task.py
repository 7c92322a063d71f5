"""What is asked of another host's agent: its words, and until when."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.model.event import Actor
from gpu_passthrough_plugin.model.host_task import (
    MAX_SKEW_S,
    HostTask,
    TaskKind,
    TaskState,
)

NOW_US = 1_800_000_000_000_000
WAIT_US = 180_000_000
SKEW_US = MAX_SKEW_S * 1_000_000


def task(kind: TaskKind, subject: str) -> HostTask:
    until_us = NOW_US + WAIT_US
    return HostTask(
        "0" * 32, "h", kind, subject, Actor(), NOW_US, until_us, NOW_US
    )


def test_titles_are_the_commands() -> None:
    clear = task(TaskKind.CLEAR, "0000:06:00.0")
    assert clear.title == "unit clear h/0000:06:00.0"
    release = task(TaskKind.RELEASE, "5f0c2d3e")
    assert release.title == "instance release 5f0c2d3e"


def test_which_states_are_open() -> None:
    is_open = [state for state in TaskState if state.is_open]
    assert is_open == [TaskState.WAITING, TaskState.RUNNING]


@pytest.mark.parametrize(
    ("later_us", "expected"),
    [
        (0, True),
        (WAIT_US, True),
        # A guest may have been started since.
        (WAIT_US + 1, False),
        # The clock of who would do it may be slow, but not out of order.
        (-SKEW_US, True),
        (-SKEW_US - 1, False),
    ],
)
def test_until_when_it_is_expected(later_us: int, expected: bool) -> None:
    asked = task(TaskKind.CLEAR, "0000:06:00.0")
    assert asked.is_expected(NOW_US + later_us) is expected

"""What the agent of another host is asked to do, and what became of it.

A task is asked for by a command on one host, and carried out by the agent of
another, at most once: what was interrupted is not begun again by itself.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

from gpu_passthrough_plugin.model.event import Actor

MAX_OPEN = 100
"""How many tasks may wait for one host."""
MAX_SKEW_S = 60
"""How much the clocks of two hosts may differ."""
KEPT_S = 7 * 24 * 3600
"""For how long the ledger keeps what became of a task, at least."""


class TaskKind(enum.StrEnum):
    """What is asked for: the words of the command."""

    CLEAR = "unit clear"
    RELEASE = "instance release"


class TaskState(enum.StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"

    @property
    def is_open(self) -> bool:
        """Whether the agent has not ended it."""
        return self in OPEN


OPEN = (TaskState.WAITING, TaskState.RUNNING)


@dataclasses.dataclass(frozen=True, slots=True)
class HostTask:
    """One task.

    :param uuid: 32 hexadecimal digits.
    :param host: whose agent is asked.
    :param subject: a unit's address, or an instance's UUID.
    :param asked_by: who asked for it; its ``command`` is the kind's.
    :param asked_us: when, in microseconds since 1970, by the clock of the
        host where the command ran.
    :param until_us: until when the command waits, by the same clock.
    :param changed_us: when it came to its state, by the clock of who changed
        it.
    :param detail: why it failed or was withdrawn; empty otherwise.
    """

    uuid: str
    host: str
    kind: TaskKind
    subject: str
    asked_by: Actor
    asked_us: int
    until_us: int
    changed_us: int
    state: TaskState = TaskState.WAITING
    detail: str = ""

    @property
    def title(self) -> str:
        """What is asked for, in a few words."""
        if self.kind is TaskKind.CLEAR:
            return f"{self.kind} {self.host}/{self.subject}"
        return f"{self.kind} {self.subject}"

    def is_expected(self, now_us: int) -> bool:
        """Return whether somebody still waits for it.

        Whoever waits no more may have done it otherwise, and a guest may have
        been started since.

        :param now_us: by the clock of the host that would do it.
        """
        earliest_us = self.asked_us - MAX_SKEW_S * 1_000_000
        return earliest_us <= now_us <= self.until_us


class TaskListing(NamedTuple):
    """Tasks in the order in which they were asked for.

    :param malformed: a line for each that cannot be read.
    """

    tasks: tuple[HostTask, ...]
    malformed: tuple[str, ...] = ()

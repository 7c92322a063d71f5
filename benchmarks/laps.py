"""Two ways to the same end in one process, by turns, as ratios."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one time took, of the process's CPU and of the clock's time."""

    cpu_s: float
    wall_s: float

    def by(self, clock: str) -> float:
        return self.cpu_s if clock == "cpu" else self.wall_s


@dataclasses.dataclass(frozen=True, slots=True)
class Side(Generic[T]):
    """One of the two.

    :param act: what is measured.
    :param undo: what makes it possible again, not measured.
    :param times: how often in a lap.
    """

    act: Callable[[], T]
    undo: Callable[[T], object]
    times: int

    def lap(self) -> Cost:
        """What one time took, on average over a lap."""
        done: list[T] = []
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(self.times):
            done.append(self.act())
        cpu_s = time.process_time() - cpu_s
        wall_s = time.perf_counter() - wall_s
        for one in done:
            self.undo(one)
        return Cost(cpu_s / self.times, wall_s / self.times)


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What came of a comparison.

    :param clock: ``cpu`` or ``wall``.
    :param ratio: the median of the passes' ratios, theirs through ours.
    """

    clock: str
    ours_ms: float
    theirs_ms: float
    ratio: float


def compare(ours: Side[T], theirs: Side[S], passes: int, clock: str) -> Seen:
    """Medians over so many passes, after one time of each to warm up.

    Which of the two goes first changes from pass to pass.
    """
    dataclasses.replace(ours, times=1).lap()
    dataclasses.replace(theirs, times=1).lap()
    found: list[tuple[Cost, Cost]] = []
    for number in range(passes):
        if number % 2:
            other = theirs.lap()
            found.append((ours.lap(), other))
        else:
            found.append((ours.lap(), theirs.lap()))
    return seen([(a.by(clock), b.by(clock)) for a, b in found], clock)


def seen(pairs: list[tuple[float, float]], clock: str) -> Seen:
    """Medians of pairs of seconds, ours and theirs."""
    return Seen(
        clock,
        statistics.median(own for own, _ in pairs) * 1000,
        statistics.median(other for _, other in pairs) * 1000,
        statistics.median(other / own for own, other in pairs),
    )

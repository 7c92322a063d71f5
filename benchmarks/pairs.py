"""CPU time of whole processes, in interleaved pairs."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one process and those it started took."""

    cpu_s: float
    peak_mib: float


def cost(command: Sequence[str]) -> Cost:
    """What running ``command`` costs.

    :raises RuntimeError: when it fails.
    """
    # lspci says on every run that a kernel without modules has none.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two commands run by turns.

    :param ratio: median of the pairs' ratios, ours through theirs.
    """

    ours_ms: float
    theirs_ms: float
    ratio: float
    peak_mib: float


def compare(
    ours: Sequence[str], theirs: Sequence[str], pairs: int
) -> Comparison:
    """Medians over so many pairs, after one run of each to warm up.

    Which of the two goes first changes from pair to pair.
    """
    cost(ours)
    if pairs > 1:
        cost(theirs)
    found = []
    for number in range(pairs):
        if number % 2:
            other, own = cost(theirs), cost(ours)
        else:
            own, other = cost(ours), cost(theirs)
        found.append((own, other))
    return Comparison(
        ours_ms=_median_ms([own for own, _ in found]),
        theirs_ms=_median_ms([other for _, other in found]),
        ratio=statistics.median(
            own.cpu_s / other.cpu_s for own, other in found
        ),
        peak_mib=max(own.peak_mib for own, _ in found),
    )


def _median_ms(costs: Sequence[Cost]) -> float:
    return statistics.median(one.cpu_s for one in costs) * 1000

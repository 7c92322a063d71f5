"""What libvirt's hook costs, beside a Python that does nothing.

Run it from a checkout::

    python -m benchmarks.hook

Whole processes as libvirt starts them, CPU time, interleaved, medians. The
host is a recorded one on disk, the ledger SQLite's file; libvirt calls the
hook about five times in a guest's life, and waits.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gpu_passthrough_plugin.model.unit import State
from tests.functional.hooked import AUDIO, GPU, ME, HookedHost, xml

_NOTHING = (sys.executable, "-c", "pass")
_LIFE = (State.RELEASING, State.SANITISING, State.FREE)


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """One way through the hook.

    :param before: makes it possible again, not measured.
    :param goal: how many times a Python that does nothing it may cost.
    """

    name: str
    operation: str
    text: str
    before: Callable[[], object]
    goal: float | None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        host = HookedHost(Path(folder))
        host.install()
        print(f"{'':>28} {'ours ms':>9} {'pass ms':>9} {'ratio':>7}  goal")
        for way in _ways(host):
            _measure(host, way, chosen.pairs)
        # Read anew, as where the ledger is a server.
        host.configure("\n")
        for way in _ways(host)[-2:]:
            long_way = dataclasses.replace(
                way, name=f"{way.name}, all of it", goal=None
            )
            _measure(host, long_way, max(1, chosen.pairs // 8))
    return 0


def _ways(host: HookedHost) -> tuple[Way, ...]:
    whole = xml(GPU, AUDIO)
    padding = f"  <description>{'x' * 1000}</description>\n"

    def nothing() -> None:
        return None

    def claimed() -> None:
        _freed(host)
        host.call(whole)

    def freed() -> None:
        _freed(host)

    return (
        Way("another step", "started", xml(), nothing, 1),
        Way("no function, 1 KB", "prepare", xml(rest=padding), nothing, 1),
        Way(
            "no function, 200 KB", "prepare", xml(rest=padding * 200),
            nothing, 1,
        ),
        Way("refused", "prepare", xml(AUDIO), freed, 2),
        Way("claimed", "prepare", whole, freed, 2),
        Way("let go", "release", whole, claimed, 2),
    )  # fmt: skip


def _measure(host: HookedHost, way: Way, pairs: int) -> None:
    found = []
    for number in range(pairs + 1):
        way.before()
        step = "end" if way.operation == "release" else "begin"
        call = (str(host.program), "guest", way.operation, step, "-")
        ours_s = _cost(call, way.text)
        theirs_s = _cost(_NOTHING, "")
        # The first one warms up.
        if number:
            found.append((ours_s, theirs_s))
    ratio = statistics.median(ours / theirs for ours, theirs in found)
    goal = ""
    if way.goal is not None:
        goal = f"≤ {way.goal:g}: {'met' if ratio <= way.goal else 'not met'}"
    print(
        f"{way.name:>28}"
        f" {statistics.median(ours for ours, _ in found) * 1000:9.1f}"
        f" {statistics.median(other for _, other in found) * 1000:9.1f}"
        f" {ratio:7.2f}  {goal}",
        flush=True,
    )


def _cost(call: tuple[str, ...], text: str) -> float:
    """CPU seconds of a process, but not of one that it left behind."""
    with tempfile.TemporaryFile() as given:
        given.write(text.encode())
        given.seek(0)
        process = subprocess.Popen(
            call, stdin=given, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{call[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _freed(host: HookedHost) -> None:
    """Every unit free, as when it was given back."""
    ledger = host.ledger()
    for record in ledger.records():
        after = record
        for state in _LIFE if record.consumer == ME else ():
            if _LIFE.index(state) >= _next(after.state):
                after = ledger.move(after, state)
    ledger.close()


def _next(state: State) -> int:
    """Where in the rest of its life a unit goes on."""
    return _LIFE.index(state) + 1 if state in _LIFE else 0


if __name__ == "__main__":
    sys.exit(main())

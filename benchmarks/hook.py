"""What the libvirt hook costs, compared with a Python that does nothing.

Run it from a checkout, with ``--ledgers`` for more than SQLite's file, which
starts MariaDB, PostgreSQL or Placement::

    python -m benchmarks.hook
    python -m benchmarks.hook --ledgers sqlite,mariadb,postgresql,placement

Whole processes as libvirt starts them, interleaved, medians: CPU time with
that of their children, and how long libvirt waits.  Where the agent answers,
its own CPU time stands beside.  The host is a recorded one on disk; libvirt
calls the hook about five times in a guest's life.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gpu_passthrough_plugin.allocation.driver import LedgerDriver
from gpu_passthrough_plugin.model.unit import State
from tests.functional.hooked import (
    AUDIO,
    GPU,
    HOST,
    ME,
    Agent,
    HookedHost,
    xml,
)
from tests.functional.placement.server import PlacementServer, empty
from tests.functional.servers.databases import MariaDB, PostgreSQL
from tests.functional.test_hook_silence import through_placement

_NOTHING = (sys.executable, "-c", "pass")
_DISK = """\
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/var/lib/nova/instances/{0}/disk' index='1'/>
      <backingStore type='file' index='3'>
        <format type='raw'/>
        <source file='/var/lib/nova/instances/_base/{0}'/>
        <backingStore/>
      </backingStore>
      <target dev='vd{0}' bus='virtio'/>
      <alias name='virtio-disk{0}'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00'\
 function='0x0'/>
    </disk>
"""
_LIFE = (State.RELEASING, State.SANITISING, State.FREE)


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One way in which libvirt calls the hook.

    :param before: makes it possible again, not measured.
    :param goal: how many times a Python that does nothing it may cost.
    """

    name: str
    operation: str
    text: str
    before: Callable[[], object]
    goal: float | None = None


class Bench(NamedTuple):
    """A host, and the ledger that its hook asks."""

    host: HookedHost
    ledger: LedgerDriver


class Cost(NamedTuple):
    """What a process took: CPU time, and how long it was waited for."""

    cpu_s: float
    wall_s: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("--ledgers", default="sqlite")
    options = parser.parse_args()
    print(
        f"{'':>28} {'ours ms':>9} {'pass ms':>9} {'ratio':>7}"
        f" {'waits ms':>9} {'pass ms':>9} {'ratio':>7} {'agent ms':>9}  goal"
    )
    for name in options.ledgers.split(","):
        with contextlib.ExitStack() as stack:
            bench = stack.enter_context(_bench(name))
            # Those with Python take so long that fewer do.
            few = max(1, options.pairs // 4)
            if name == "sqlite":
                for call in _passing(bench):
                    _measure(bench, call, options.pairs)
            for call in _checked(bench, name):
                _measure(bench, call, few)
            agent = stack.enter_context(bench.host.agent())
            for call in _checked(bench, f"{name}, agent", goal=1.5):
                _measure(bench, call, options.pairs, agent)
    return 0


@contextlib.contextmanager
def _bench(name: str) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if name == "placement":
            server = stack.enter_context(PlacementServer())
            host, ledger = HookedHost(folder), server.ledger()
            empty(ledger)
            units = [r.unit for r in host.ledger().records(host=HOST)]
            ledger.publish(HOST, units)
            port = int(server.url.rpartition(":")[2])
            host.configure(through_placement(port))
            host.install()
            yield Bench(host, ledger)
            return
        url = ""
        if name != "sqlite":
            kind = {"mariadb": MariaDB, "postgresql": PostgreSQL}[name]
            url = stack.enter_context(kind(durable=True)).new_database()
        host = HookedHost(folder, url=url)
        host.install()
        yield Bench(host, host.ledger())


def _passing(bench: Bench) -> tuple[Call, ...]:
    """Return the calls for which no Python is started."""

    def nothing() -> None:
        return None

    return (
        Call("another step", "started", xml(), nothing, 0.5),
        Call("no function, 5 KB", "prepare", _plain(8), nothing, 0.5),
        Call("no function, 20 KB", "prepare", _plain(32), nothing, 0.5),
        Call("no function, 200 KB", "prepare", _plain(320), nothing, 1),
    )


def _checked(
    bench: Bench, title: str, goal: float | None = None
) -> tuple[Call, ...]:
    whole = xml(GPU, AUDIO)

    def freed() -> None:
        _freed(bench.ledger)

    def claimed() -> None:
        _freed(bench.ledger)
        bench.host.call(whole)

    return (
        Call(f"{title}: refused", "prepare", xml(AUDIO), freed, goal),
        Call(f"{title}: claimed", "prepare", whole, freed, goal),
        Call(f"{title}: released", "release", whole, claimed, goal),
    )


def _plain(disks: int) -> str:
    """A guest with so many disks, as libvirt writes them."""
    return xml(rest="".join(map(_DISK.format, range(disks))))


def _measure(
    bench: Bench, call: Call, pairs: int, agent: Agent | None = None
) -> None:
    ours, theirs, agents = [], [], []
    for number in range(pairs + 1):
        call.before()
        step = "end" if call.operation == "release" else "begin"
        argv = (str(bench.host.program), "guest", call.operation, step, "-")
        before = agent.cpu_s() if agent else {}
        our = _cost(argv, call.text)
        after = agent.cpu_s() if agent else {}
        their = _cost(_NOTHING, "")
        # The first one warms up.
        if number:
            ours.append(our)
            theirs.append(their)
            # A release of its own is nothing that libvirt waits for.
            kept = before.keys() & after.keys()
            agents.append(sum(after[pid] - before[pid] for pid in kept))
    ratios = [
        statistics.median(
            a[at] / b[at] for a, b in zip(ours, theirs, strict=True)
        )
        for at in range(len(Cost._fields))
    ]
    cells = [
        f"{_median_ms(our):9.1f} {_median_ms(their):9.1f} {ratio:7.2f}"
        for our, their, ratio in zip(
            zip(*ours, strict=True), zip(*theirs, strict=True), ratios,
            strict=True,
        )
    ]  # fmt: skip
    spent = f"{statistics.mean(agents) * 1000:9.1f}" if agent else " " * 9
    goal = ""
    if call.goal is not None:
        is_met = "met" if ratios[0] <= call.goal else "not met"
        goal = f"≤ {call.goal:g}: {is_met}"
    print(f"{call.name:>28} {' '.join(cells)} {spent}  {goal}", flush=True)


def _median_ms(seconds: tuple[float, ...]) -> float:
    return statistics.median(seconds) * 1000


def _cost(argv: tuple[str, ...], text: str) -> Cost:
    """Of a process, but not of one that it left behind."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        begun_s = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=file, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - begun_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, wall_s)


def _freed(ledger: LedgerDriver) -> None:
    """Free every unit, as when it was released."""
    for record in ledger.records(host=HOST):
        after = record
        for state in _LIFE if record.consumer == ME else ():
            if _LIFE.index(state) >= _next(after.state):
                after = ledger.move(after, state)


def _next(state: State) -> int:
    """Which step of the rest of its life comes next for a unit."""
    return _LIFE.index(state) + 1 if state in _LIFE else 0


if __name__ == "__main__":
    sys.exit(main())

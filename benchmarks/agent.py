"""What a pass of the agent costs on a host where nothing changed.

Run it from a checkout::

    python -m benchmarks.agent

One process does passes over a large host on disk, with the ledger in SQLite's
file and libvirt's driver for tests.  Its CPU time a pass stands beside that of
a Python that does nothing, and beside the interval between two passes; its
memory after all passes beside that after the first ones.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.flow.agent import UnitCache
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector

# [agent] interval_s by default.
_INTERVAL_S = 60.0
# What the first passes import and cache is no growth.
_FIRST = 20
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024
_NOTHING = (sys.executable, "-c", "pass")


# In a process of its own: what builds a host would count as memory here.
_GROW = """
import pathlib, sys
from benchmarks import tree
tree.grown(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
"""


def _context(folder: Path, functions: int) -> HostContext:
    root = folder / "root"
    grow = (sys.executable, "-c", _GROW, str(root), str(functions))
    subprocess.run(grow, check=True)
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{folder}/ledger.sqlite"))
    ledger.sync()
    return HostContext(
        host="h",
        tree=HostTree(str(root)),
        policy=Policy((selector.parse("class=03"),)),
        devices=SysfsDevices(FunctionCalls(str(folder / "calls")), str(root)),
        connect=lambda: Hypervisor("test:///default"),
        ledger=ledger,
        journal=InstanceJournal(str(folder / "instances")),
        ended=EndedGuests(str(folder / "ended")),
        lock=contextlib.nullcontext,
        stop_timeout_s=0,
        reset_timeout_s=0,
        restores_drivers=True,
        say=print,
    )


def _memory_kb() -> int:
    """Return what of this process is in memory now."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE_KB


def _nothing_ms() -> float:
    """Return the CPU time of a Python that does nothing."""
    times = []
    for _ in range(11):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(_NOTHING, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent_s = (after.ru_utime + after.ru_stime) - (
            before.ru_utime + before.ru_stime
        )
        times.append(spent_s * 1000)
    return statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        context = _context(Path(name), chosen.functions)
        cache = UnitCache()
        outcomes = agent.run(context, cache)
        print(f"first pass: {len(outcomes)} findings, now published")
        times, first_kb = [], 0
        for number in range(chosen.passes):
            begun_s = time.process_time()
            if agent.run(context, cache):
                parser.error("the host is not in step")
            times.append((time.process_time() - begun_s) * 1000)
            if number + 1 == min(_FIRST, chosen.passes):
                first_kb = _memory_kb()
        last_kb = _memory_kb()
        context.ledger.close()
    pass_ms, nothing_ms = statistics.median(times), _nothing_ms()
    print(
        f"a pass over {chosen.functions} functions: {pass_ms:.1f} ms of CPU,"
        f" {pass_ms / nothing_ms:.1f} x python3 -c pass,"
        f" {pass_ms / 10 / _INTERVAL_S:.2f} % of a core each"
        f" {_INTERVAL_S:g} s"
    )
    print(
        f"memory: {last_kb / 1024:.0f} MiB after {chosen.passes} passes,"
        f" {last_kb / first_kb:.3f} x that after {_FIRST}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

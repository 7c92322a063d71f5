"""What a pass of the agent costs on a host where nothing changed.

Run it from a checkout::

    python -m benchmarks.agent

One process does passes over a large host on disk, with the ledger in SQLite's
file and libvirt's driver for tests.  Its CPU time a pass stands beside that of
a Python that does nothing, and beside the interval between two passes; its
memory after all passes beside that after the first ones.  With ``--cards``
so many units are on vfio-pci, and their health is judged.  With ``--metrics``
it serves metrics as well, and is scraped after each pass.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.compute.health import HealthLimits
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.flow import agent
from gpu_passthrough_plugin.flow.agent import UnitCache
from gpu_passthrough_plugin.flow.context import HostContext
from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
from gpu_passthrough_plugin.flow.unit_health import HealthChecks
from gpu_passthrough_plugin.host import metrics_server
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.ended_guests import EndedGuests
from gpu_passthrough_plugin.host.event_counters import EventCounters
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.host.health_baselines import HealthBaselines
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.metric import MetricsAddress

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
tree.grown(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""


def _context(folder: Path, functions: int, cards: int) -> HostContext:
    root = folder / "root"
    grow = (sys.executable, "-c", _GROW, str(root), str(functions), str(cards))
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
        health=HealthChecks(
            HealthBaselines(str(folder / "health")), HealthLimits()
        ),
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


class _Metrics:
    """Metrics that are published after each pass, and scraped."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.passes = PassMetrics(EventCounters(str(folder / "metrics")))
        self._path = str(folder / "run" / "metrics.sock")
        serving = metrics_server.serving(MetricsAddress(self._path))
        self._server = stack.enter_context(serving)
        self.scraped_bytes = 0

    def publish(self) -> None:
        self._server.publish(self.passes.families())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(self._path)
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            self.scraped_bytes = 0
            while size := len(client.recv(1 << 16)):
                self.scraped_bytes += size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=1000)
    parser.add_argument("--cards", type=int, default=0)
    parser.add_argument("--metrics", action="store_true")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        contextlib.ExitStack() as stack,
    ):
        metrics = _Metrics(Path(name), stack) if chosen.metrics else None
        context = _context(Path(name), chosen.functions, chosen.cards)
        cache = UnitCache()
        outcomes = agent.run(context, cache)
        print(f"first pass: {len(outcomes)} findings, now published")
        times, first_kb = [], 0
        for number in range(chosen.passes):
            begun_s = time.process_time()
            if agent.run(
                context, cache, metrics=metrics.passes if metrics else None
            ):
                parser.error("the host is not in step")
            if metrics:
                metrics.publish()
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
    if metrics:
        print(f"a scrape: {metrics.scraped_bytes // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Agents of several hosts: processes with one ledger and one group.

Each is what ``gpu-passthrough-agent`` is among the agents, without passes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.model.allocation import HostRecord
from tests.unit.allocation.build import unit

ROOT = Path(__file__).parents[2]
LEASE_S = 3
# On a busy machine agents join again seconds after one another.
LOST_AFTER_S = 8
# On a busy machine, for what takes a lease and LOST_AFTER_S.
LATE_S = 60.0

NODE = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
from gpu_passthrough_plugin.cli.agent_group import AgentGroup, new_contexts
from gpu_passthrough_plugin.flow import lost_hosts
name, config = sys.argv[1:]
new_context = new_contexts([config], "gpu-passthrough-agent")
def watched(_number, _frame):
    ledger = new_context().ledger
    lost_hosts.watch_own(ledger, name)
    ledger.close()
    print("joined", flush=True)
signal.signal(signal.SIGHUP, watched)
signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
with AgentGroup(new_context(), new_context).running():
    print("runs", flush=True)
    while True:
        signal.pause()
"""


class Node:
    """The agent of a host."""

    def __init__(self, nodes: Nodes, name: str) -> None:
        self.name = name
        self._nodes = nodes
        self.log = nodes.folder / f"{name}.log"
        self.config = nodes.configure(name)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return once it is a member, and its host is watched."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NODE, self.name, str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "runs\n", self.said()
        self.joined()

    def joined(self) -> None:
        """Return once it has joined, or has joined again."""
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "joined\n", self.said()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()

    def said(self) -> str:
        return self.log.read_text()


class Nodes:
    """Hosts with a card each, a ledger, and a group.

    :param backend_url: of the group.
    :param options: further lines of ``[agent]``.
    """

    def __init__(
        self,
        folder: Path,
        backend_url: str,
        names: str,
        options: str = "",
        lost_after_s: int = LOST_AFTER_S,
    ) -> None:
        self.folder = folder
        self._lost_after_s = lost_after_s
        self._options = options
        self._backend_url = backend_url
        self._database = f"sqlite:///{folder}/ledger.sqlite"
        self.ledger = SqlLedger(LedgerSettings(self._database))
        self.ledger.sync()
        self.hosts = {name: self._published(name) for name in names}

    def _published(self, name: str) -> Node:
        self.ledger.publish(name, [unit(n, host=name) for n in (1, 2)])
        return Node(self, name)

    def configure(self, name: str) -> Path:
        path = self.folder / f"{name}.conf"
        path.write_text(
            f"[DEFAULT]\nhost = {name}\nstate_path = {self.folder}/{name}\n"
            f"[database]\nconnection = {self._database}\n"
            f"[coordination]\nbackend_url = {self._backend_url}\n"
            f"timeout_s = 30\n[agent]\nlost_after_s = {self._lost_after_s}\n"
            f"{self._options}"
        )
        return path

    def start(self, names: str) -> None:
        for name in names:
            self.hosts[name].start()

    def record(self, name: str) -> HostRecord:
        found = self.ledger.host(name)
        assert found is not None
        return found

    def lost(self) -> str:
        """The names of the hosts that are marked."""
        return "".join(
            host.name
            for host in self.ledger.hosts()
            if host.reason.startswith("lost: ")
        )

    def close(self) -> None:
        for host in self.hosts.values():
            host.end()
        self.ledger.close()


@contextlib.contextmanager
def nodes(
    folder: Path,
    backend_url: str,
    names: str,
    options: str = "",
    lost_after_s: int = LOST_AFTER_S,
) -> Iterator[Nodes]:
    made = Nodes(folder, backend_url, names, options, lost_after_s)
    try:
        yield made
    finally:
        made.close()


def eventually(look: Callable[[], object], expected: object) -> None:
    end = time.monotonic() + LATE_S
    while (found := look()) != expected and time.monotonic() < end:
        time.sleep(0.2)
    assert found == expected

"""The installed product in an emulated host, as an operator uses it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import guest, project
from .host import EmulatedHost
from .ssh import CommandFailed, LabError

CONFIG = "/etc/gpu-passthrough/gpu-passthrough.conf"
PYTHON = "/opt/gpu-passthrough/bin/python3"
CARD = ("1002:5046", "8086:2668")
RECONCILE = "gpu-passthrough-reconcile"
AGENT = "gpu-passthrough-agent"
"""The systemd units that Nova's notifications start."""

_RECONCILED_S = 120.0
_INSIDE = "/opt/lab/inside.py"
_END_TIMEOUT_S = 60.0
_TIMEOUT_S = 400.0
_PROCESSES = """\
ps -eo pid,ppid,stat,wchan:32,etimes,args | grep -v '\\]$'
for task in /proc/[0-9]*; do
    grep -q '^State:.*D' "$task/status" 2>/dev/null || continue
    cat "$task/comm" "$task/stack" || :
done
dmesg | tail -n 40
"""
"""What a host does in which a command does not end."""

# A host's configuration, to which a test adds.
ALIASES = """\
[pci]
alias = {"name": "gpu", "vendor_id": "1002", "product_id": "5046"}
alias = {"name": "near", "vendor_id": "1002", "product_id": "5046", \
"numa_policy": "required"}
alias = {"name": "handy", "vendor_id": "1002", "product_id": "5046", \
"numa_policy": "preferred"}
alias = {"name": "beside", "vendor_id": "1002", "product_id": "5046", \
"numa_policy": "socket"}
[libvirt]
stop_timeout_s = 1
"""


class Product:
    """``gpu-passthrough`` in a host, by a program that keeps running there.

    That one forks for each command, which spares starting Python again.
    """

    def __init__(self, host: EmulatedHost) -> None:
        self.host = host
        self._there = host.spawn((PYTHON, _INSIDE))
        self._failure: LabError | None = None

    def close(self) -> None:
        """Return once nothing of it runs there any more."""
        if self._failure is None:
            self._there.communicate(timeout=_TIMEOUT_S)
            return
        self._there.kill()
        self._there.wait()
        # What it was not told any more cannot be flushed.
        for stream in (
            self._there.stdin,
            self._there.stdout,
            self._there.stderr,
        ):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def cli(
        self, *argv: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Return how the command ended.

        :raises CommandFailed: when ``check`` and its status is not 0.
        """
        gave = self.inside({"argv": list(argv)})[0]
        done = subprocess.CompletedProcess(
            list(argv), gave["status"], gave["out"], gave["err"]
        )
        if check and done.returncode:
            raise CommandFailed(done)
        return done

    def asked(self, *argv: str) -> Any:
        """Return what a command that had to succeed printed as JSON."""
        return json.loads(self.cli(*argv, "-f", "json").stdout)

    def inside(self, *steps: dict[str, Any]) -> list[Any]:
        """Return what each step gave; see ``inside``."""
        return [self._answer(step) for step in steps]

    def _answer(self, step: dict[str, Any]) -> Any:
        """Return what one step gave.

        :raises LabError: when it gave nothing; from then on, always.
        """
        if self._failure is None:
            line = self._line(json.dumps(step))
            if line:
                return json.loads(line)
            self._failure = self._why(json.dumps(step))
        raise self._failure

    def _line(self, step: str) -> bytes:
        """Return the answer to one step; empty when there is none."""
        assert self._there.stdin is not None
        assert self._there.stdout is not None
        try:
            self._there.stdin.write(step.encode() + b"\n")
            self._there.stdin.flush()
        except BrokenPipeError:
            return b""
        ready, _, _ = select.select([self._there.stdout], [], [], _TIMEOUT_S)
        return self._there.stdout.readline() if ready else b""

    def _why(self, step: str) -> LabError:
        """Return why there was no answer, with what the host does."""
        self._there.kill()
        try:
            self.host.require_answer(("inside", step))
            doing = self.host.sh(_PROCESSES)
        except LabError as error:
            return error
        return LabError(f"{step}: no answer\n{self._said()}\n{doing}")

    def _said(self) -> str:
        """Return what the program wrote to its stderr."""
        assert self._there.stderr is not None
        os.set_blocking(self._there.stderr.fileno(), False)
        return (self._there.stderr.read() or b"").decode(errors="replace")

    def snapshot(self) -> dict[str, Any]:
        """Return what the product could have changed, as it is now."""
        found: dict[str, Any] = self.inside({"snapshot": True})[0]
        return found

    def domain(self, name: str, uuid: str, disk: str = guest.FORCED) -> str:
        """Return the path of a guest's XML in the host."""
        path = f"/run/{name}.xml"
        xml = guest.domain_xml(name, uuid, serial(name), disk=disk)
        self.host.put(path, xml.encode())
        return path

    def seen(self, name: str) -> tuple[str, ...]:
        """Return the functions that a guest itself found."""
        until = time.monotonic() + _END_TIMEOUT_S
        while time.monotonic() < until:
            text = self.host.get(serial(name)).decode(errors="replace")
            found = guest.seen(text)
            if found is not None:
                return found
            time.sleep(0.3)
        raise AssertionError(f"{name} wrote no END in {_END_TIMEOUT_S} s")


def reconciling(host: EmulatedHost) -> str:
    """Return what the service said that Nova's notifications start."""
    return host.sh(f"journalctl -u {RECONCILE} -o cat || :")


def reconciled(host: EmulatedHost, times: int = 0) -> int:
    """Return how often it ended well, once that is so often."""
    until = time.monotonic() + _RECONCILED_S
    while True:
        said = reconciling(host)
        found = said.count("Finished gpu-passthrough-reconcile.service")
        if found >= times:
            return found
        assert time.monotonic() < until, said
        time.sleep(1)


def start_agent(host: EmulatedHost) -> None:
    """Have systemd run the agent, now and after each boot."""
    unit = Path(__file__).parents[3] / f"etc/systemd/{AGENT}.service"
    host.put(f"/etc/systemd/system/{AGENT}.service", unit.read_bytes())
    host.sh(f"systemctl daemon-reload && systemctl enable --now {AGENT}")


def serial(name: str) -> str:
    """Return the host's file that a guest's findings go to."""
    return f"/run/{name}.log"


@contextmanager
def installed(host: EmulatedHost, archived: bytes) -> Iterator[Product]:
    """Return the product, configured and with its inventory published."""
    project.install(host, archived)
    host.put(CONFIG, ALIASES.encode())
    # Once as an operator's shell starts it; later calls are forked.
    host.run(("gpu-passthrough", "db", "sync"))
    with running(host) as product:
        product.cli("inventory", "sync")
        yield product


@contextmanager
def running(host: EmulatedHost) -> Iterator[Product]:
    """Return the product that is installed and configured already."""
    host.put(_INSIDE, Path(__file__).with_name("inside.py").read_bytes())
    product = Product(host)
    try:
        yield product
    finally:
        product.close()


def states(snapshot: dict[str, Any]) -> list[str]:
    """Return the states of all units, by address."""
    return [state for _, state in snapshot["units"]]

"""What the libvirt hook costs, compared with a Python that does nothing.

Run it from a checkout::

    python -m benchmarks.hook

Whole processes as libvirt starts them, CPU time with that of their children,
interleaved, medians. The host is a recorded one on disk, the ledger SQLite's
file; libvirt calls the hook about five times in a guest's life, and waits.
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=41)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        host = HookedHost(Path(folder))
        host.install()
        print(f"{'':>28} {'ours ms':>9} {'pass ms':>9} {'ratio':>7}  goal")
        for call in _calls(host):
            # Those with Python take so long that fewer do.
            pairs = options.pairs if call.goal else options.pairs // 4
            _measure(host, call, max(1, pairs))
    return 0


def _calls(host: HookedHost) -> tuple[Call, ...]:
    whole = xml(GPU, AUDIO)

    def nothing() -> None:
        return None

    def freed() -> None:
        _freed(host)

    def claimed() -> None:
        _freed(host)
        host.call(whole)

    return (
        Call("another step", "started", xml(), nothing, 0.5),
        Call("no function, 5 KB", "prepare", _plain(8), nothing, 0.5),
        Call("no function, 20 KB", "prepare", _plain(32), nothing, 0.5),
        Call("no function, 200 KB", "prepare", _plain(320), nothing, 1),
        Call("refused", "prepare", xml(AUDIO), freed),
        Call("claimed", "prepare", whole, freed),
        Call("released", "release", whole, claimed),
    )


def _plain(disks: int) -> str:
    """A guest with so many disks, as libvirt writes them."""
    return xml(rest="".join(map(_DISK.format, range(disks))))


def _measure(host: HookedHost, call: Call, pairs: int) -> None:
    costs = []
    for number in range(pairs + 1):
        call.before()
        step = "end" if call.operation == "release" else "begin"
        argv = (str(host.program), "guest", call.operation, step, "-")
        ours_s = _cost(argv, call.text)
        theirs_s = _cost(_NOTHING, "")
        # The first one warms up.
        if number:
            costs.append((ours_s, theirs_s))
    ratio = statistics.median(ours / theirs for ours, theirs in costs)
    goal = ""
    if call.goal is not None:
        is_met = "met" if ratio <= call.goal else "not met"
        goal = f"≤ {call.goal:g}: {is_met}"
    print(
        f"{call.name:>28}"
        f" {statistics.median(ours for ours, _ in costs) * 1000:9.1f}"
        f" {statistics.median(other for _, other in costs) * 1000:9.1f}"
        f" {ratio:7.2f}  {goal}",
        flush=True,
    )


def _cost(argv: tuple[str, ...], text: str) -> float:
    """CPU seconds of a process, but not of one that it left behind."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        process = subprocess.Popen(
            argv, stdin=file, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def _freed(host: HookedHost) -> None:
    """Free every unit, as when it was released."""
    ledger = host.ledger()
    for record in ledger.records():
        after = record
        for state in _LIFE if record.consumer == ME else ():
            if _LIFE.index(state) >= _next(after.state):
                after = ledger.move(after, state)
    ledger.close()


def _next(state: State) -> int:
    """Which step of the rest of its life comes next for a unit."""
    return _LIFE.index(state) + 1 if state in _LIFE else 0


if __name__ == "__main__":
    sys.exit(main())

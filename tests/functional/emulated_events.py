"""Events of a PCI function that umockdev emulates: a program of its own.

Run it with ``umockdev-wrapper``, which has libudev see that function alone.
It runs the loop of the agent, and prints when each pass began, in seconds
since the first; the argument names what happens meanwhile.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gpu_passthrough_plugin.host.agent_loop import AgentLoop, Due

# One that does not answer: no guest begins a pass.
NO_LIBVIRT = "test:///nowhere"
NEVER_S = 3600.0
FUNCTION = b"/sys/devices/pci0000:00/0000:00:02.0"
STRANGER = b"/sys/devices/virtual/net/eth0"
DEVICES = b"""\
P: /devices/pci0000:00/0000:00:02.0
E: SUBSYSTEM=pci
A: vendor=0x10de

P: /devices/virtual/net/eth0
E: SUBSYSTEM=net

"""


class Testbed:
    """What umockdev emulates.

    Source: umockdev, umockdev-testbed.vala.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libumockdev.so.0")
        new = self._library.umockdev_testbed_new
        new.restype = ctypes.c_void_p
        self._testbed = ctypes.c_void_p(new())
        assert self._library.umockdev_testbed_add_from_string(
            self._testbed, DEVICES, None
        )

    def send(self, action: bytes, device: bytes = FUNCTION) -> None:
        self._library.umockdev_testbed_uevent(self._testbed, device, action)


class Passes:
    """Passes of an agent.

    :param during: what each of them does, by its number.
    """

    def __init__(self, during: Callable[[int], None], marker: str) -> None:
        self.begun_s: list[float] = []
        self._during = during
        self._marker = marker

    def __call__(self) -> Due:
        self.begun_s.append(time.monotonic())
        self._during(len(self.begun_s))
        return Due(NEVER_S, self._marker)


def main(scenario: str, folder: str) -> None:
    testbed = Testbed()
    marker = Path(folder) / "marker"

    def bind() -> None:
        # As a release does: reset functions, and give them their drivers.
        for action in (b"unbind", b"bind", b"change") * 2:
            testbed.send(action)

    def flood() -> None:
        until_s = time.monotonic() + 7
        while time.monotonic() < until_s:
            testbed.send(b"change")
            # umockdev gives up when a few of them were not received.
            time.sleep(0.08)

    scenarios: dict[str, tuple[Callable[[int], None], Callable[[], None]]] = {
        "removed": (_nothing, lambda: testbed.send(b"remove")),
        "stranger": (_nothing, lambda: testbed.send(b"remove", STRANGER)),
        "own": (lambda number: bind() if number == 2 else None, bind),
        "storm": (_nothing, flood),
        "touched": (_nothing, marker.touch),
    }
    during, act = scenarios[scenario]
    passes = Passes(during, str(marker) if scenario == "touched" else "")

    def run() -> None:
        time.sleep(2)
        act()
        time.sleep(9)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=run, daemon=True).start()
    said: list[str] = []
    AgentLoop(passes, NO_LIBVIRT, said.append).run()
    first_s = passes.begun_s[0]
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "passes": [round(at - first_s, 1) for at in passes.begun_s],
                "said": said,
                "peak_kib": peak_kib,
            }
        )
    )


def _nothing(_number: int) -> None:
    return


if __name__ == "__main__":
    main(*sys.argv[1:])

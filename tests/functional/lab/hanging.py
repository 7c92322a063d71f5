"""Runs inside an emulated host: a driver that the kernel does not take away.

A program of its own, run by the host's Python with a sound function's address
and its device file.  It has that file open while it takes the driver away.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.function_calls import FunctionCalls
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.function import Binding, Rebind

AUDIO = address.parse(sys.argv[1])
NONE = Binding(None, None)


def hang() -> dict[str, str]:
    """Return what is told of the child, once the file is closed again."""
    held = os.open(sys.argv[2], os.O_RDONLY)
    print("held", flush=True)
    sys.stdin.readline()
    with tempfile.TemporaryDirectory() as folder:
        calls = FunctionCalls(folder, 3)
        devices = SysfsDevices(calls)
        was = devices.binding(AUDIO)
        shown = {}
        try:
            devices.rebind(Rebind(AUDIO, was, NONE))
        except errors.Stuck as error:
            shown["error"] = str(error)
        # The child's own limit began after this process's.
        time.sleep(2)
        (pid,) = calls._left
        status = Path(f"/proc/{pid}/status").read_text()
        shown["state"] = status.partition("State:\t")[2][:1]
        shown["identity"] = str(devices.identity(AUDIO))
        os.close(held)
        while calls.stuck(AUDIO):
            time.sleep(0.1)
        devices.rebind(Rebind(AUDIO, NONE, was))
        return shown | {"driver": devices.binding(AUDIO).driver or ""}


if __name__ == "__main__":
    print(json.dumps(hang()), flush=True)

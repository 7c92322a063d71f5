"""Runs inside an emulated host: commands in children that may be killed.

A program of its own, put into the host and run by the host's Python: it
imports the installed product once, and forks a child for each command, as
starting Python takes seconds under emulation.  Reads a step a line, as JSON,
and answers each with a line.
"""

import contextlib
import json
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import libvirt

from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.cli import app as _app
from gpu_passthrough_plugin.cli.main import main
from gpu_passthrough_plugin.flow import boot as _boot
from gpu_passthrough_plugin.flow import enablement as _enablement
from gpu_passthrough_plugin.flow import inventory as _inventory
from gpu_passthrough_plugin.flow import release as _release
from gpu_passthrough_plugin.formats import domain_xml as _domain_xml
from gpu_passthrough_plugin.host import locks as _locks
from gpu_passthrough_plugin.host.boot.journal import JournalStore
from gpu_passthrough_plugin.host.commands import Commands
from gpu_passthrough_plugin.host.devices import SysfsDevices
from gpu_passthrough_plugin.host.files import Files
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.host.instance_journal import InstanceJournal

# What a child needs is here before it is forked.
_IMPORTED = (
    *(_app, _domain_xml, _boot, _enablement, _inventory, _release, _locks),
)

_TIMEOUT_S = 300
STATE = "/var/lib/gpu-passthrough"
ACTS = (
    (InstanceJournal, "write"),
    (InstanceJournal, "remove"),
    (SqlLedger, "claim"),
    (SqlLedger, "move"),
    (SqlLedger, "publish"),
    (SysfsDevices, "rebind"),
    (SysfsDevices, "reset_function"),
    (SysfsDevices, "reset_bus"),
    (Hypervisor, "start"),
    (Hypervisor, "shut_down"),
    (Hypervisor, "destroy"),
    (JournalStore, "keep"),
    (JournalStore, "keep_file"),
    (JournalStore, "write"),
    (JournalStore, "remove"),
    (Files, "put"),
    (Files, "restore"),
    (Files, "keep"),
    (Files, "move"),
    (Files, "remove"),
    (Commands, "run"),
    (Commands, "output"),
)


def armed(kill_at: int | None, log: str) -> None:
    """Make each act write its name to ``log``; die right before one."""
    count = 0
    remove = Files.remove

    def watched(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if act is remove and not os.path.lexists(args[1]):
                # Nothing is done then, and nothing is different after.
                return act(*args, **kwargs)
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{name}\n")
            return act(*args, **kwargs)

        return call

    for kind, name in ACTS:
        setattr(kind, name, watched(name, getattr(kind, name)))


def called(step: dict[str, Any]) -> dict[str, Any]:
    """Return how one command ended: status, output, errors, acts."""
    with tempfile.TemporaryDirectory() as folder:
        child = started(step["argv"], step.get("kill_at"), folder)
        return ended(child, folder)


def started(argv: list[str], kill_at: int | None, folder: str) -> int:
    """Return the process of a command; its streams go to ``folder``."""
    child = os.fork()
    if child:
        return child
    try:
        signal.alarm(_TIMEOUT_S)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(
                os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number
            )
        armed(kill_at, f"{folder}/acts")
        # As the console script, which gives up capabilities.
        sys.argv[1:] = argv
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    except SystemExit as left:
        os._exit(int(left.code or 0))
    finally:
        os._exit(70)


def ended(child: int, folder: str) -> dict[str, Any]:
    """Return how the process ended, when it has."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = {"status": status}
    return said | {n: text(f"{folder}/{n}") for n in ("out", "err", "acts")}


def text(path: str) -> str:
    """Return a file's text; nothing where there is no file."""
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        return file.read()
    return ""


def raced(step: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how commands ended that ran at the same time."""
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(tempfile.TemporaryDirectory())
            for _ in step["race"]
        ]
        children = [
            started(argv, None, folder)
            for argv, folder in zip(step["race"], folders, strict=True)
        ]
        return [
            ended(child, folder)
            for child, folder in zip(children, folders, strict=True)
        ]


def snapshot() -> dict[str, Any]:
    """Return what the product could have changed, as it is now."""
    pci = "/sys/bus/pci/devices"
    with contextlib.closing(sqlite3.connect(f"{STATE}/ledger.sqlite")) as db:
        units = db.execute("SELECT address, state FROM unit ORDER BY 1")
        held = db.execute("SELECT COUNT(*) FROM allocation")
        ledger = {"units": units.fetchall(), "held": held.fetchone()[0]}
    ledger["journal"] = []
    with contextlib.suppress(FileNotFoundError):
        ledger["journal"] = sorted(os.listdir(f"{STATE}/instances"))
    connection = libvirt.open("qemu:///system")
    guests = sorted(d.name() for d in connection.listAllDomains())
    connection.close()
    return ledger | {
        "guests": guests,
        "drivers": {
            name: (
                os.path.basename(os.path.realpath(f"{pci}/{name}/driver"))
                if os.path.exists(f"{pci}/{name}/driver")
                else None,
                text(f"{pci}/{name}/driver_override").strip(),
            )
            for name in sorted(os.listdir(pci))
        },
    }


def result(step: dict[str, Any]) -> Any:
    """Return what one step gave."""
    if "race" in step:
        return raced(step)
    if "argv" in step:
        return called(step)
    return snapshot()


if __name__ == "__main__":
    for request in sys.stdin:
        print(json.dumps(result(json.loads(request))), flush=True)

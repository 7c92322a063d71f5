"""The whole story on an emulated host: ``quickstart.sh --lab`` runs this.

A real kernel with real IOMMU groups, a real libvirtd and a real guest on
vfio-pci; what is emulated is the machine.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from . import image, product, project, topology
from .host import EmulatedHost
from .product import Product

CHECKOUT = Path(__file__).resolve().parents[3]
_GUEST = "guest-1"

Write = Callable[[str], None]


class Teller:
    """Runs commands in the host and shows them as a terminal would."""

    def __init__(self, host: EmulatedHost, write: Write) -> None:
        self._host = host
        self._write = write
        self._began = time.monotonic()

    def stage(self, title: str) -> None:
        spent_s = time.monotonic() - self._began
        self._write(f"\n== {title}  [{spent_s:.0f} s]")

    def run(self, *argv: str, wanted: int = 0) -> str:
        """Return a command's output, all of which was shown.

        :raises AssertionError: when its status is not ``wanted``.
        """
        self._write(f"\n# {shlex.join(argv)}")
        done = self._host.run(argv, check=False)
        for line in (done.stderr + done.stdout).rstrip().splitlines():
            self._write(line)
        if done.returncode != wanted:
            raise AssertionError(
                f"{shlex.join(argv)} ended with {done.returncode},"
                f" wanted {wanted}"
            )
        return done.stdout


def tell(ours: Product, write: Write) -> None:
    """Go from a bare host to a guest that holds a group, and back."""
    teller, identity = Teller(ours.host, write), str(uuid.uuid4())
    command = "gpu-passthrough"
    teller.stage("Is the host ready, and which groups are assignable")
    teller.run(command, "host", "check")
    columns = ("-c", "Group", "-c", "Functions", "-c", "Assignable")
    teller.run(command, "group", "list", "--assignable", *columns)
    teller.stage("Publish, and ask where a card would come from")
    teller.run(command, "inventory", "sync")
    teller.run(command, "candidate", "list", "--request", "gpu:1")
    teller.stage("Boot a guest that holds a whole group")
    path = ours.domain(_GUEST, identity)
    boot = (command, "instance", "boot", path, "--request", "gpu:1")
    teller.run(*boot)
    teller.stage("What the guest itself finds on its PCI buses")
    ours.seen(_GUEST)
    seen = teller.run("cat", product.serial(_GUEST))
    for function in product.CARD:
        if function not in seen:
            raise AssertionError(f"the guest does not hold {function}")
    teller.stage("Four cards are more than the host has")
    other = ours.domain("guest-2", str(uuid.uuid4()))
    more = (command, "instance", "boot", other, "--request", "gpu:4")
    teller.run(*more, wanted=1)
    teller.stage("Release: stop, reset, check, restore drivers")
    teller.run(command, "instance", "release", identity)
    left = teller.run(command, "inventory", "list", "-f", "json")
    if {row["State"] for row in json.loads(left)} != {"free"}:
        raise AssertionError("not every unit is free again")
    write("\nThe host is as it was: every unit is free.")


def main() -> int:
    """Build the lab where it is missing, boot a host, tell the story."""

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    built = image.ensure(CHECKOUT / "requirements.txt")
    with tempfile.TemporaryDirectory(prefix="gpu-lab-") as folder:
        work = Path(folder)
        (work / "project").mkdir()
        archived = project.archive(CHECKOUT, work / "project")
        say("booting an emulated host with three graphics cards ...")
        with (
            EmulatedHost(topology.SEED, built, work / "host") as host,
            product.installed(host, archived) as installed,
        ):
            tell(installed, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())

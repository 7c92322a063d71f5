"""What a stranger's report of a few kB costs: seconds, and no more memory.

Each archive is read by a process of its own, as an operator would.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import zstandard

from gpu_passthrough_plugin.formats import umockdev
from tests.trees.host import Host
from tests.trees.seed import failed

# Of the processor: reading stops at five.
MAX_SECONDS = 6.5
MAX_MIB = 300
CHECKOUT = Path(__file__).parents[2]

_MEASURED = """
import resource, sys
from gpu_passthrough_plugin.cli import main
status = main.main(["host", "verify", "--report", sys.argv[1]])
used = resource.getrusage(resource.RUSAGE_SELF)
print(status, used.ru_utime + used.ru_stime, used.ru_maxrss >> 10)
"""


def cost(parts: Mapping[str, bytes], path: Path) -> tuple[int, float, int]:
    """Return exit status, seconds of the processor and MiB of memory."""
    title = {"format": 1, "parts": list(parts)}
    members = {**parts, "report.json": json.dumps(title).encode()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in members.items():
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    path.write_bytes(zstandard.ZstdCompressor().compress(archive.getvalue()))
    assert path.stat().st_size < 1 << 20
    done = subprocess.run(
        (sys.executable, "-c", _MEASURED, str(path)),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        check=True,
    )
    assert "Traceback" not in done.stderr
    status, seconds, mib = done.stdout.split("\n")[-2].split()
    return int(status), float(seconds), int(mib)


def recording(host: Host) -> bytes:
    return umockdev.printed(host.devices())


def with_file(path: str, text: str) -> dict[str, bytes]:
    host = failed()
    host.file(path, text)
    return {"host.umockdev": recording(host)}


def with_log(text: str) -> dict[str, bytes]:
    return {"host.umockdev": recording(failed()), "kernel.log": text.encode()}


def with_devices(lines: Iterable[bytes]) -> dict[str, bytes]:
    return {"host.umockdev": b"".join(lines)}


DEVICE = b"P: /devices/pci0000:00/0000:00:00.0\nE: SUBSYSTEM=pci\n"
MODPROBE = "etc/modprobe.d/a.conf"
CASES: dict[str, dict[str, bytes]] = {
    "an option repeated": with_file(
        MODPROBE, "options vfio-pci ids=10de:1430\n" * 4000
    ),
    "an option repeated in one line": with_file(
        MODPROBE, "options vfio-pci " + "ids=10de:1430 " * 9000
    ),
    "opening brackets": with_file(MODPROBE, "options " + "[" * 120_000 + " a"),
    "variables that double": with_file(
        "etc/default/grub",
        "A0=x\n" + "".join(f'A{n + 1}="$A{n}$A{n}"\n' for n in range(40)),
    ),
    "an argument repeated": with_file("proc/cmdline", "iommu=pt " * 1800),
    "a log line repeated": with_log(
        "nouveau 0000:06:00.0: probe failed with error -12\n" * 80_000
    ),
    "a log line of a megabyte": with_log("vfio " * 200_000),
    "folders in folders": with_devices(
        [b"P: /devices/" + b"a/" * 480_000 + b"a\nE: SUBSYSTEM=pci\n\n"]
    ),
    "many deep folders": with_devices(
        b"P: /devices/%d" % n + b"/ab" * 60 + b"\nE: SUBSYSTEM=pci\n\n"
        for n in range(5000)
    ),
    "a link of many steps": with_devices(
        [DEVICE, b"L: driver=", b"../" * 1300, b"a\n\n"]
    ),
    "lines without end": with_devices([DEVICE, b"A: a=b\n" * 4_000_000]),
    "nothing but zeros": with_devices([bytes(30 << 20)]),
    "many functions": with_devices(
        b"P: /devices/pci%04x:00/%04x:%02x:%02x.0\nE: SUBSYSTEM=pci\n"
        b"E: PCI_ID=10DE:1430\nE: PCI_CLASS=30000\n\n"
        % (n >> 13, n >> 13, n >> 5 & 255, n & 31)
        for n in range(79_000)
    ),
    "brackets of JSON": {
        "host.umockdev": recording(failed()),
        "enablement.json": b"[" * 900_000,
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_bomb_costs_seconds(name: str, tmp_path: Path) -> None:
    status, seconds, mib = cost(CASES[name], tmp_path / "report.tar.zst")
    assert status in {0, 1, 2}
    assert seconds < MAX_SECONDS
    assert mib < MAX_MIB


FILES = (
    MODPROBE, "proc/cmdline", "etc/default/grub", "boot/grub/grub.cfg",
    "boot/loader/entries/a.conf", "etc/mkinitcpio.conf", "etc/os-release",
    "proc/1/mountinfo", "proc/1/net/route", "proc/1/net/ipv6_route",
)  # fmt: skip
PIECES = (
    "options vfio-pci ", "ids=10de:1430,", "blacklist nouveau\n", "\\\n", "\n",
    '"', "'", "$A", "A=", "(", "[", "#", " ", "linux /v ", "HOOKS=(", "\t0",
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "0000:06:00.0: ", "vfio-pci: ",
    "intel_iommu=on ", "0" * 32 + " ", "command line: ", "failed ",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_a_generated_report_costs_seconds(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)  # noqa: S311 - not for secrets

    def text(size: int) -> str:
        unit = "".join(chance.choices(PIECES, k=chance.randrange(1, 5)))
        return unit * (size // len(unit))

    host = failed()
    for path in chance.sample(FILES, 3):
        host.file(path, text(120_000))
    parts = {
        "host.umockdev": recording(host),
        "kernel.log": text(900_000).encode(),
    }
    status, seconds, mib = cost(parts, tmp_path / "report.tar.zst")
    assert status in {0, 1, 2}
    assert seconds < MAX_SECONDS
    assert mib < MAX_MIB

"""What real firmware gives addresses to is what we say that fits.

QEMU is started without a disk: its firmware assigns addresses, QMP tells
them, and nothing else is needed of a guest.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from gpu_passthrough_plugin.model.address_space import (
    MIB,
    Firmware,
    Guest,
    needed_address_bits,
    needed_mmio64_mib,
    shortage,
)
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor

QEMU = "qemu-system-x86_64"
FOLDER = Path("/usr/share/OVMF")
CODE, VARIABLES = FOLDER / "OVMF_CODE_4M.fd", FOLDER / "OVMF_VARS_4M.fd"
# Loaded machines take a minute; a firmware that gives up does not say so.
PATIENCE_S, QUIET_S = 120, 5
# Id of pci-testdev.  Source: qemu, include/hw/pci/pci.h.
TEST_DEVICE = (0x1B36, 0x0005)

pytestmark = pytest.mark.skipif(
    shutil.which(QEMU) is None or not CODE.exists(),
    reason=f"{QEMU} or OVMF is not installed",
)

INTEL = Guest(Firmware.OVMF, 40, CpuVendor.INTEL, has_1gib_pages=False)
AMD = INTEL._replace(cpu_vendor=CpuVendor.AMD)
WIDE = AMD._replace(has_1gib_pages=True)
BIOS = AMD._replace(firmware=Firmware.SEABIOS)
MODELS = {CpuVendor.INTEL: "Skylake-Client", CpuVendor.AMD: "qemu64"}

# BARs of one slot, in MiB: one of each function.
Sizes = tuple[int, ...]
H100 = (128 << 10, 32)


class Case(NamedTuple):
    """A guest, and the BARs on each of its slots."""

    guest: Guest
    slots: list[Sizes]

    def __str__(self) -> str:
        guest = self.guest
        pages = "1GiB" if guest.has_1gib_pages else "4KiB"
        cards = ["+".join(map(str, sizes)) for sizes in self.slots]
        words = (guest.firmware, guest.cpu_vendor, guest.address_bits, pages)
        return "-".join(map(str, (*words, guest.mmio64_mib, *cards)))


# Each of these boots a guest: some always, the others in turn.
ALWAYS = (
    # The window of 32 GiB, where OVMF does not trust the CPU.
    Case(INTEL, [(16 << 10, 32)]),
    Case(INTEL, [(32 << 10,)]),
    Case(INTEL, [(32 << 10, 32)]),
    Case(INTEL, [H100]),
    Case(AMD, [(128 << 10,)]),
    Case(AMD, [H100]),
    Case(BIOS, [H100] * 3),
    Case(BIOS, [H100] * 4),
)
IN_TURN = (
    # An eighth of what it trusts.
    Case(INTEL._replace(address_bits=39), [(64 << 10,)]),
    Case(INTEL._replace(address_bits=39), [(64 << 10, 32)]),
    Case(AMD, [(64 << 10, 32), (32 << 10,)]),
    Case(AMD, [(64 << 10, 32), (16 << 10,), (16 << 10,)]),
    Case(AMD, [(32 << 10, 32)] * 2),
    Case(AMD, [(32 << 10, 32)] * 3),
    Case(WIDE._replace(address_bits=42), [H100] * 2),
    Case(WIDE._replace(address_bits=42), [H100] * 3),
    Case(WIDE._replace(address_bits=43), [H100] * 4),
    # No pages of 1 GiB: as if it had 40 bits.
    Case(AMD._replace(address_bits=42), [(128 << 10,)]),
    Case(AMD._replace(address_bits=42), [(128 << 10,)] * 2),
    # What it is told.
    Case(INTEL._replace(mmio64_mib=262144), [H100]),
    Case(INTEL._replace(mmio64_mib=262144), [H100] * 2),
    Case(INTEL._replace(mmio64_mib=1 << 20), [H100]),
    Case(WIDE._replace(address_bits=42, mmio64_mib=786432), [H100] * 3),
    # SeaBIOS takes what it needs.
    Case(BIOS, [(256 << 10,)] * 3),
    Case(BIOS._replace(address_bits=38), [(64 << 10,), (64 << 10,)]),
    Case(BIOS._replace(address_bits=38), [(64 << 10, 32)] * 2),
)


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=str(case)) for case in ALWAYS),
        *(
            pytest.param(case, id=str(case), marks=pytest.mark.rotating)
            for case in IN_TURN
        ),
    ],
)
def test_what_fits(case: Case, tmp_path: Path) -> None:
    slots = [_bars(sizes) for sizes in case.slots]
    expected = shortage(case.guest, slots) is None
    assert _is_mapped(case, tmp_path) is expected


@pytest.mark.rotating
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_advised_is_enough(count: int, tmp_path: Path) -> None:
    slots = [_bars(H100)] * count
    bits = needed_address_bits(INTEL, slots)
    assert bits is not None
    wider = WIDE._replace(address_bits=bits)
    assert _is_mapped(Case(wider, [H100] * count), tmp_path)
    mib = needed_mmio64_mib(INTEL, slots)
    assert mib is not None
    told = INTEL._replace(mmio64_mib=mib)
    assert _is_mapped(Case(told, [H100] * count), tmp_path)


def _bars(sizes: Sizes) -> tuple[Bar, ...]:
    return tuple(Bar(size * MIB, BarKind.HIGH) for size in sizes)


def _is_mapped(case: Case, folder: Path) -> bool:
    """Whether every BAR gets an address that the guest's CPU can reach."""
    limit = 1 << case.guest.address_bits
    with _started(_command(case, folder), folder / "qmp") as monitor:
        regions = _assigned(monitor, sum(map(len, case.slots)))
    return all(0 < r["address"] <= limit - r["size"] for r in regions)


def _command(case: Case, folder: Path) -> Iterator[str]:
    guest = case.guest
    assert isinstance(guest.cpu_vendor, CpuVendor)
    cpu = f"{MODELS[guest.cpu_vendor]},phys-bits="
    cpu += f"{guest.address_bits},pdpe1gb="
    cpu += "on" if guest.has_1gib_pages else "off"
    yield from (QEMU, "-accel", "tcg", "-machine", "q35", "-cpu", cpu)
    yield from ("-m", "512", "-nodefaults", "-display", "none")
    yield from ("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off")
    if guest.firmware is Firmware.OVMF:
        shutil.copy(VARIABLES, folder / "variables")
        flash = "if=pflash,format=raw"
        yield from ("-drive", f"{flash},readonly=on,file={CODE}")
        yield from ("-drive", f"{flash},file={folder / 'variables'}")
    if guest.mmio64_mib:
        text = f"name=opt/ovmf/X-PciMmio64Mb,string={guest.mmio64_mib}"
        yield from ("-fw_cfg", text)
    for number, sizes in enumerate(case.slots):
        port = f"id=port{number},chassis={number + 1}"
        yield from ("-device", f"pcie-root-port,{port},bus=pcie.0")
        for function, size in enumerate(sizes):
            many = "on" if len(sizes) > 1 else "off"
            place = f"bus=port{number},addr=0.{function},multifunction={many}"
            yield from ("-device", f"pci-testdev,membar={size}M,{place}")


@contextmanager
def _started(command: Iterator[str], path: Path) -> Iterator[Monitor]:
    process = subprocess.Popen(
        [*command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            _connect(channel, path, process)
            with channel.makefile("rw") as file:
                file.readline()
                monitor = Monitor(file)
                monitor.ask("qmp_capabilities")
                yield monitor
    finally:
        process.kill()
        process.communicate()


def _connect(
    channel: socket.socket, path: Path, process: subprocess.Popen[str]
) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            channel.connect(str(path))
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


class Monitor:
    """QEMU's monitor (QMP)."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def ask(self, command: str) -> Any:
        self._file.write(json.dumps({"execute": command}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer


def _assigned(monitor: Monitor, count: int) -> list[Any]:
    """The large BARs, once they have addresses or the firmware is done.

    It is done when it has given an address to anything, and changes none any
    more.
    """
    end, since, before = time.monotonic() + PATIENCE_S, time.monotonic(), None
    while True:
        functions = [*_functions(monitor.ask("query-pci"))]
        now = [region for f in functions for region in f["regions"]]
        large = [
            region
            for f in functions
            if (f["id"]["vendor"], f["id"]["device"]) == TEST_DEVICE
            for region in f["regions"]
            if region["size"] >= MIB
        ]
        if len(large) == count and all(r["address"] > 0 for r in large):
            return large
        if now != before:
            before, since = now, time.monotonic()
        is_begun = any(r["address"] > 0 for r in now)
        if is_begun and time.monotonic() - since > QUIET_S:
            return large
        assert time.monotonic() < end, "the firmware assigned nothing"
        time.sleep(0.2)


def _functions(buses: Sequence[Any]) -> Iterator[Any]:
    for bus in buses:
        for function in bus["devices"]:
            yield function
            bridge = {"devices": [], **function.get("pci_bridge", {})}
            yield from _functions([bridge])

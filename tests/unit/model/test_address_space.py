"""What guests can map, for cards and guests of public reports."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gpu_passthrough_plugin.model import address_space
from gpu_passthrough_plugin.model.address_space import (
    GIB,
    MIB,
    Firmware,
    Guest,
    Shortage,
    Slot,
    needed_address_bits,
    needed_bytes,
    needed_mmio64_mib,
    shortage,
    shown,
)
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING

HIGH, LOW = BarKind.HIGH, BarKind.LOW
INTEL = Guest(Firmware.OVMF, 40, CpuVendor.INTEL)
AMD = INTEL._replace(cpu_vendor=CpuVendor.AMD)
BIOS = INTEL._replace(firmware=Firmware.SEABIOS)


def card(memory_gib: int, low_mib: int = 16) -> Slot:
    """A data centre GPU: registers, its memory, and a small BAR."""
    return (
        Bar(low_mib * MIB, LOW),
        Bar(memory_gib * GIB, HIGH),
        Bar(32 * MIB, HIGH),
        Bar(128, BarKind.PORTS),
    )


class Case(NamedTuple):
    """Cards in a guest, and what is enough for it; None where it fits.

    :param mib: of ``X-PciMmio64Mb``, with the guest's own address bits.
    """

    report: str
    guest: Guest
    cards: list[Slot]
    bits: int | None
    mib: int | None


# A BAR of the size of a window of 32 GiB leaves none for the card's others.
CASES = (
    Case("kubevirt#11093: M40 24GB, EFI", INTEL, [card(32)], 41, 65536),
    Case("kubevirt#11093: M40 24GB, BIOS", BIOS, [card(32)], None, None),
    Case("kubevirt#11093: L40S", INTEL, [card(64)], 41, 131072),
    # The number of the sidecar that they run.
    Case("kubevirt#11093: eight H100", INTEL._replace(address_bits=42),
         [card(128)] * 8, 44, 2097152),
    Case("harvester#5619: A30", INTEL, [card(32)], 41, 65536),
    Case("lxd#14381: 24 GB and more", INTEL, [card(32)], 41, 65536),
    Case("lxd#14381: four in one guest", INTEL, [card(32)] * 4, 41, 262144),
    Case("kata-containers#835: V100", INTEL, [card(32)], 41, 65536),
    Case("Proxmox forum 179366: L40S", INTEL, [card(64)], 41, 131072),
    Case("kata-containers#13270: four of 128 GiB", AMD, [card(128)] * 4, 43,
         None),
    Case("kata-containers#13270: eight, host-phys-bits", AMD._replace(
         address_bits=48), [card(128)] * 8, None, None),
    # rackerlabs, "Solving GPU passthrough memory addressing in OpenStack".
    Case("Rackspace: four H100 NVL, 512 GiB, Nova's default", INTEL._replace(
         memory_end=514 * GIB), [card(128)] * 4, 43, None),
    Case("Rackspace: one H100 NVL, SeaBIOS", BIOS._replace(
         memory_end=130 * GIB), [card(128)], None, None),
    Case("edk2#12997: eight of 512 GiB", INTEL, [card(512)] * 8, 46, None),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.report)
def test_cards_of_public_reports(case: Case) -> None:
    lack = shortage(case.guest, case.cards)
    if case.bits is None:
        assert lack is None
        return
    assert lack is not None
    assert not lack.is_low
    assert lack.needed_bytes > lack.available_bytes
    assert needed_address_bits(case.guest, case.cards) == case.bits
    assert needed_mmio64_mib(case.guest, case.cards) == case.mib
    wider = case.guest._replace(address_bits=case.bits)
    assert shortage(wider, case.cards) is None


def test_a_hole_that_the_guests_kernel_fills() -> None:
    # lxd#15872: eight GPUs of a DGX B200.
    guest, cards = INTEL._replace(address_bits=43), [card(256)] * 8
    assert shortage(guest, cards) is not None
    hole = guest._replace(hole64_bytes=8192 * GIB)
    assert shortage(hole, cards) is None
    assert shortage(hole._replace(address_bits=42), cards) is not None


def test_more_than_the_sum() -> None:
    pair = [card(128)] * 2
    # The second begins at a multiple of 128 GiB.
    assert needed_bytes(pair, HIGH, Firmware.OVMF) == 384 * GIB + 32 * MIB
    assert needed_bytes(pair, HIGH, Firmware.SEABIOS) == 512 * GIB
    assert needed_bytes(pair, LOW, Firmware.OVMF) == 32 * MIB
    small = [(Bar(4096, LOW),)] * 3
    assert needed_bytes(small, LOW, Firmware.OVMF) == 3 * MIB


def test_bars_below_4_gib() -> None:
    switches = [(Bar(256 * MIB, LOW), Bar(4096, LOW))] * 3
    assert shortage(INTEL, switches[:2]) is None
    assert shortage(INTEL, switches) == Shortage(
        1281 * MIB, 960 * MIB, is_low=True
    )
    assert needed_address_bits(INTEL, switches) is None


@pytest.mark.parametrize(
    ("guest", "fitting", "not_fitting"),
    [
        # An eighth of an address space that OVMF trusts, or 32 GiB.
        (INTEL, 16, 32),
        (INTEL._replace(address_bits=39), 32, 64),
        (INTEL._replace(address_bits=36), 16, 32),
        (INTEL._replace(cpu_vendor=MISSING), 16, 32),
        (INTEL._replace(cpu_vendor=CpuVendor.OTHER), 16, 32),
        (AMD, 64, 128),
        (AMD._replace(address_bits=39), 16, 32),
        (INTEL._replace(address_bits=42), 256, 512),
        # No pages of 1 GiB: no more than 40 bits.
        (INTEL._replace(address_bits=42, has_1gib_pages=False), 64, 128),
        # No more than 46 bits.
        (INTEL._replace(address_bits=52), 4096, 8192),
        # The memory is in the window's way.
        (AMD._replace(memory_end=900 * GIB), 16, 32),
        (BIOS, 256, 512),
        (BIOS._replace(memory_end=516 * GIB), 128, 256),
        # What is told is taken if it is larger, and within the limit.
        (INTEL._replace(mmio64_mib=65536), 32, 64),
        (INTEL._replace(mmio64_mib=0x1000001), 16, 32),
        (INTEL._replace(mmio64_mib=1 << 20), 0, 16),
        # The CPU says more than the host's has.
        (INTEL._replace(mmio64_mib=1 << 19, host_bits=39), 0, 16),
        (BIOS._replace(host_bits=39), 128, 256),
    ],
)
def test_how_large_a_bar_fits(
    guest: Guest, fitting: int, not_fitting: int
) -> None:
    assert not fitting or shortage(guest, [card(fitting)]) is None
    assert shortage(guest, [card(not_fitting)]) is not None


def test_nothing_is_enough() -> None:
    cards = [card(4096)] * 4
    assert needed_address_bits(INTEL, cards) is None
    assert needed_mmio64_mib(INTEL, cards) is None
    # The firmware has no such setting.
    assert needed_mmio64_mib(BIOS, cards) is None
    assert needed_address_bits(BIOS, cards) == 46


def test_sizes_in_messages() -> None:
    sizes = (1, MIB, GIB, 1536 * MIB, 8 * GIB + 1, 129 * GIB)
    assert [shown(size) for size in sizes] == [
        "1 MiB", "1 MiB", "1 GiB", "1536 MiB", "9 GiB", "129 GiB",
    ]  # fmt: skip


def test_a_guest_without_cards() -> None:
    assert shortage(INTEL, []) is None
    assert shortage(INTEL, [()]) is None
    assert address_space.needed_address_bits(INTEL, []) == 41

"""Laws of what guests can map, for any cards and guests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.model.address_space import (
    GIB,
    MIB,
    MOST_ADDRESS_BITS,
    Firmware,
    Guest,
    Slot,
    needed_address_bits,
    needed_bytes,
    needed_mmio64_mib,
    shortage,
)
from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING

BARS = st.builds(
    Bar, st.integers(12, 40).map(lambda n: 1 << n), st.just(BarKind.HIGH)
) | st.builds(
    Bar, st.integers(12, 25).map(lambda n: 1 << n), st.just(BarKind.LOW)
)
SLOTS = st.lists(st.lists(BARS, max_size=6).map(tuple), max_size=16)
GUESTS = st.builds(
    Guest,
    firmware=st.sampled_from(Firmware),
    address_bits=st.integers(36, MOST_ADDRESS_BITS),
    cpu_vendor=st.sampled_from((*CpuVendor, MISSING)),
    has_1gib_pages=st.booleans(),
    memory_end=st.integers(4 * GIB, 4096 * GIB),
    mmio64_mib=st.none() | st.integers(1, 0x1000000),
    hole64_bytes=st.just(0) | st.integers(GIB, 8192 * GIB),
    host_bits=st.integers(36, MOST_ADDRESS_BITS),
)


def total(slots: list[Slot], kind: BarKind) -> int:
    return sum(b.size_bytes for s in slots for b in s if b.kind is kind)


@given(SLOTS, st.sampled_from(Firmware), st.sampled_from(BarKind))
def test_never_less_than_the_sum(
    slots: list[Slot], firmware: Firmware, kind: BarKind
) -> None:
    assert needed_bytes(slots, kind, firmware) >= total(slots, kind)


@given(SLOTS, st.sampled_from(Firmware), st.sampled_from(BarKind))
def test_equal_cards_of_one_bar_have_no_gaps(
    slots: list[Slot], firmware: Firmware, kind: BarKind
) -> None:
    single = [(Bar(1 << 30, kind),)] * len(slots)
    assert needed_bytes(single, kind, firmware) == len(slots) << 30


@given(SLOTS, GUESTS, st.data())
def test_fewer_cards_fit_too(
    slots: list[Slot], guest: Guest, data: st.DataObject
) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=16, max_size=16))
    fewer = [s for s, is_kept in zip(slots, kept, strict=False) if is_kept]
    for kind in BarKind:
        most = needed_bytes(slots, kind, guest.firmware)
        assert needed_bytes(fewer, kind, guest.firmware) <= most
    if shortage(guest, slots) is None:
        assert shortage(guest, fewer) is None


@given(SLOTS, GUESTS)
def test_less_memory_fits_too(slots: list[Slot], guest: Guest) -> None:
    bios = guest._replace(firmware=Firmware.SEABIOS)
    if shortage(bios, slots) is None:
        smaller = bios._replace(memory_end=4 * GIB)
        assert shortage(smaller, slots) is None


@given(SLOTS, GUESTS)
def test_what_is_advised_is_enough(slots: list[Slot], guest: Guest) -> None:
    lack = shortage(guest, slots)
    if lack is not None and not lack.is_low:
        assert lack.needed_bytes > 0
    bits = needed_address_bits(guest, slots)
    if bits is not None:
        assert bits <= guest.host_bits
        assert bits >= 41 or bits in {36, 39, 40}
        wider = guest._replace(address_bits=bits, has_1gib_pages=True)
        assert shortage(wider, slots) is None
    mib = needed_mmio64_mib(guest, slots)
    # Where nothing lacks, any window will do.
    if mib is not None and lack is not None:
        assert shortage(guest._replace(mmio64_mib=mib), slots) is None
        high = needed_bytes(slots, BarKind.HIGH, guest.firmware)
        assert mib * MIB >= high or guest.hole64_bytes or bits is not None

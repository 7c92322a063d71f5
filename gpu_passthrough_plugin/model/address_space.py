"""Whether a guest can map the BARs of the functions that it is given.

A guest's firmware puts the large BARs into a window above its memory, of a
size that the CPU's physical address bits decide.  What does not fit has no
address in the guest: ``BAR0 is 0M @ 0x0``, ``can't assign; no space``.

Source: edk2, OvmfPkg/Library/PlatformInitLib/MemDetect.c
(PlatformGetFirstNonAddress, PlatformAddressWidthFromCpuid,
PlatformDynamicMmioWindow); SeaBIOS, src/fw/pciinit.c
(pci_bios_check_devices, pci_bios_map_devices); QEMU, hw/i386/pc.c and
hw/pci-host/q35.c.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.function import Bar, BarKind
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown

MIB, GIB = 1 << 20, 1 << 30

QEMU_ADDRESS_BITS = 40
"""What QEMU gives a guest whose CPU model has no other number.

Source: qemu, target/i386/cpu.c (TCG_PHYS_ADDR_BITS).
"""

MOST_ADDRESS_BITS = 52
"""What page tables of x86 can hold."""

# What OVMF has above 4 GiB where it does not trust the CPU's address bits.
# Source: edk2, OvmfPkg/OvmfPkgX64.dsc (PcdPciMmio64Size).
_CLASSIC_WINDOW = 32 * GIB
_MAX_MMIO64_MIB = 0x1000000
# Of the address space, OVMF's window has an eighth; a quarter since
# edk2#12997 (August 2026), which few hosts have yet.
_WINDOW_SHIFT = 3
# OVMF uses no more than these, nor more than 40 without pages of 1 GiB.
_OVMF_BITS, _SMALL_PAGE_BITS = 46, 40
_VALID_FROM = 41
# Address bits up to 40 that OVMF trusts, because CPUs of the vendor have
# them; other ones are QEMU's default, whatever the host can do.
_TRUSTED = {
    CpuVendor.INTEL: frozenset({36, 39}),
    CpuVendor.AMD: frozenset({40}),
}
# A bridge's window is a multiple of this.
# Source: PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.8.
_BRIDGE_STEP = MIB
_SHOWN_IN_MIB = 8 * GIB

Slot = tuple[Bar, ...]
"""The BARs of all functions on one slot of the guest."""


class Firmware(enum.StrEnum):
    """A guest's firmware that QEMU comes with."""

    OVMF = "OVMF"
    SEABIOS = "SeaBIOS"


# Between the memory of a q35 guest and what lies below 4 GiB.
_LOW_WINDOW = {
    Firmware.OVMF: 0xFC000000 - 0xC0000000,
    Firmware.SEABIOS: 0xFEC00000 - 0xC0000000,
}


class Guest(NamedTuple):
    """What of a guest decides where its firmware puts BARs.

    :param address_bits: physical ones that its CPU says it has.
    :param cpu_vendor: what its CPU says; under KVM, always the host's.
    :param has_1gib_pages: whether its CPU has them (``pdpe1gb``).
    :param memory_end: end of its memory, that for hot-plugging included.
    :param mmio64_mib: size of the window that OVMF is told to make, with
        ``opt/ovmf/X-PciMmio64Mb``; None for its own choice.
    :param host_bits: those of the host's CPU, beyond which nothing works.
    :param hole64_bytes: QEMU's ``pci-hole64-size`` where it is given: the
        guest's kernel may assign BARs within.
    """

    firmware: Firmware
    address_bits: int
    cpu_vendor: CpuVendor | Unknown
    has_1gib_pages: bool = True
    memory_end: int = 4 * GIB
    mmio64_mib: int | None = None
    hole64_bytes: int = 0
    host_bits: int = MOST_ADDRESS_BITS


class Shortage(NamedTuple):
    """BARs that do not fit.

    :param is_low: whether those that have to be below 4 GiB do not.
    """

    needed_bytes: int
    available_bytes: int
    is_low: bool


class _Block(NamedTuple):
    """Addresses that a slot needs in one piece."""

    size: int
    alignment: int


def needed_bytes(
    slots: Iterable[Slot], kind: BarKind, firmware: Firmware
) -> int:
    """Return how much address space the BARs of a kind take together.

    More than their sum: a BAR is aligned to its size, and those of one slot
    are in the window of one bridge.
    """
    return _end(0, _blocks(slots, kind, firmware))


def shortage(guest: Guest, slots: Sequence[Slot]) -> Shortage | None:
    """Return what the guest cannot map; None where it can map everything."""
    firmware = guest.firmware
    low = needed_bytes(slots, BarKind.LOW, firmware)
    if low > _LOW_WINDOW[firmware]:
        return Shortage(low, _LOW_WINDOW[firmware], is_low=True)
    blocks = _blocks(slots, BarKind.HIGH, firmware)
    if not blocks:
        return None
    windows = _windows(guest)
    if any(_end(start, blocks) <= end for start, end in windows):
        return None
    available = max(max(end - start, 0) for start, end in windows)
    return Shortage(_end(0, blocks), available, is_low=False)


def needed_address_bits(guest: Guest, slots: Sequence[Slot]) -> int | None:
    """Return how many address bits are enough; None where none are.

    OVMF trusts 41 and more on any host, so no fewer are returned where the
    host has them; nor more than it has.
    """

    def changed(bits: int) -> Guest:
        return guest._replace(address_bits=bits, has_1gib_pages=True)

    usual = range(_VALID_FROM, guest.host_bits + 1)
    few = [b for b in sorted(_trusted(guest)) if b <= guest.host_bits]
    return _first((*usual, *few), changed, slots)


def needed_mmio64_mib(guest: Guest, slots: Sequence[Slot]) -> int | None:
    """Return the window OVMF has to be told of; None where none is enough.

    It is a power of two, and the guest's address bits stay as they are.
    """
    if guest.firmware is not Firmware.OVMF:
        return None
    sizes = (
        1 << shift
        for shift in range(
            (_CLASSIC_WINDOW // MIB).bit_length(), _MAX_MMIO64_MIB.bit_length()
        )
    )
    return _first(sizes, lambda mib: guest._replace(mmio64_mib=mib), slots)


def shown(size_bytes: int) -> str:
    """Return a size for a message, rounded up."""
    if size_bytes < _SHOWN_IN_MIB and size_bytes % GIB:
        return f"{-(-size_bytes // MIB)} MiB"
    return f"{-(-size_bytes // GIB)} GiB"


def _first(
    values: Iterable[int],
    changed: Callable[[int], Guest],
    slots: Sequence[Slot],
) -> int | None:
    return next((v for v in values if not shortage(changed(v), slots)), None)


def _blocks(
    slots: Iterable[Slot], kind: BarKind, firmware: Firmware
) -> list[_Block]:
    """Return what each slot needs, in the order of the firmware."""
    blocks = []
    for slot in slots:
        sizes = [bar.size_bytes for bar in slot if bar.kind is kind]
        if not sizes:
            continue
        alignment = max(*sizes, _BRIDGE_STEP)
        # SeaBIOS makes a bridge's window a multiple of its largest BAR.
        step = alignment if firmware is Firmware.SEABIOS else _BRIDGE_STEP
        blocks.append(_Block(_rounded(sum(sizes), step), alignment))
    return sorted(blocks, key=lambda b: (-b.alignment, -b.size))


def _end(start: int, blocks: Iterable[_Block]) -> int:
    """Return where the last of the blocks ends that are put from ``start``."""
    end = start
    for block in blocks:
        end = _rounded(end, block.alignment) + block.size
    return end


def _windows(guest: Guest) -> list[tuple[int, int]]:
    """Return where BARs may go: first address, and the first one behind."""
    limit = 1 << min(guest.address_bits, guest.host_bits)
    memory_end = _rounded(guest.memory_end, GIB)
    if guest.firmware is Firmware.SEABIOS:
        # It goes by what the BARs need.
        return [(memory_end, limit)]
    start, end = _ovmf_window(guest, memory_end)
    windows = [(start, min(end, limit))]
    if guest.hole64_bytes:
        hole = memory_end, min(memory_end + guest.hole64_bytes, limit)
        windows.append(hole)
    return windows


def _ovmf_window(guest: Guest, memory_end: int) -> tuple[int, int]:
    size = _CLASSIC_WINDOW
    if guest.mmio64_mib and guest.mmio64_mib <= _MAX_MMIO64_MIB:
        size = _rounded(guest.mmio64_mib * MIB, GIB)
    start = _rounded(memory_end, 1 << (size.bit_length() - 1))
    bits = _trusted_bits(guest)
    if bits is not None:
        dynamic, limit = 1 << (bits - _WINDOW_SHIFT), 1 << bits
        if size < dynamic and start + dynamic < limit:
            return limit - dynamic, limit
    return start, start + size


def _trusted_bits(guest: Guest) -> int | None:
    """Return how many address bits OVMF goes by; None for none."""
    bits = guest.address_bits
    if bits < _VALID_FROM and bits not in _trusted(guest):
        return None
    most = _OVMF_BITS if guest.has_1gib_pages else _SMALL_PAGE_BITS
    return min(bits, most)


def _trusted(guest: Guest) -> frozenset[int]:
    vendor = guest.cpu_vendor
    if isinstance(vendor, Unknown):
        return frozenset()
    return _TRUSTED.get(vendor, frozenset())


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step

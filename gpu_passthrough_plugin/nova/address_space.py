"""How wide the addresses of a flavor's guests have to be for their cards.

Nova's guests have QEMU's default unless the flavor or [libvirt] cpu_mode says
otherwise; their images choose the firmware, so that UEFI is assumed, which
has less room for BARs by default.

Source: nova, virt/libvirt/driver.py (_get_guest_cpu_config_maxphysaddr) and
scheduler/filters/compute_capabilities_filter.py, which keeps instances off
hosts with too few bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.address_space import (
    GIB,
    MIB,
    MOST_ADDRESS_BITS,
    QEMU_ADDRESS_BITS,
    Firmware,
    Guest,
    Shortage,
    Slot,
    needed_address_bits,
    shortage,
)
from gpu_passthrough_plugin.model.function import Bar
from gpu_passthrough_plugin.model.host_facts import IOMMU_TABLES, CpuVendor
from gpu_passthrough_plugin.model.reading import Unknown, known

MODE, BITS = "hw:maxphysaddr_mode", "hw:maxphysaddr_bits"
EMULATE = "emulate"
"""The mode that goes with every [libvirt] cpu_mode."""
# The most of a kind that figures are given for.
_MOST_UNITS = 32


class HostHardware(NamedTuple):
    """What of a compute host decides what its guests can map.

    :param bars: of the functions that are handed out.
    """

    bars: Mapping[Address, tuple[Bar, ...] | Unknown]
    cpu_vendor: CpuVendor | Unknown
    address_bits: int | Unknown

    @property
    def may_be_x86(self) -> bool:
        """Whether its guests may have address bits of their own.

        Source: libvirt, qemu/qemu_validate.c (qemuValidateDomainDefCpu),
        which refuses ``<maxphysaddr>`` on other architectures.
        """
        vendor = self.cpu_vendor
        return isinstance(vendor, Unknown) or vendor in IOMMU_TABLES


class Step(NamedTuple):
    """A number of units of one kind, and the bits that are enough.

    :param bits: None where no number is enough on the host.
    """

    units: int
    bits: int | None


class Need(NamedTuple):
    """What guests with units of one kind lack by default.

    :param steps: by number of units: each as many as its bits are enough
        for.
    :param fewest: the smallest number of units that lacks anything.
    :param lack: what that one lacks.
    """

    steps: tuple[Step, ...]
    fewest: int
    lack: Shortage

    @property
    def bits(self) -> int | None:
        """Return the bits for ``fewest`` units."""
        return next(s.bits for s in self.steps if s.units >= self.fewest)

    @property
    def enough(self) -> str:
        """Return the steps for a message; "" where no bits are enough."""
        return ", ".join(
            f"{step.bits} for up to {step.units}"
            for step in self.steps
            if step.bits is not None and step.units >= self.fewest
        )


def default_guest(
    hardware: HostHardware, ram_mib: int, bits: int = QEMU_ADDRESS_BITS
) -> Guest:
    """Return a guest of a flavor that says nothing of addresses."""
    return Guest(
        firmware=Firmware.OVMF,
        address_bits=bits,
        cpu_vendor=hardware.cpu_vendor,
        memory_end=4 * GIB + ram_mib * MIB,
        host_bits=known(hardware.address_bits) or MOST_ADDRESS_BITS,
    )


def slots(
    addresses: Iterable[Address],
    bars: Mapping[Address, tuple[Bar, ...] | Unknown],
) -> tuple[Slot, ...] | None:
    """Return a slot for each function; None where sizes are not known.

    Source: nova and libvirt give each function a root port of its own.
    """
    sizes = []
    for address in addresses:
        own = bars.get(address)
        if own is None or isinstance(own, Unknown):
            return None
        sizes.append(own)
    return tuple(sizes)


def need_on(
    hardware: HostHardware,
    units: Sequence[Sequence[Slot]],
    ram_mib: int,
    bits: int = QEMU_ADDRESS_BITS,
) -> Need | Unknown | None:
    """Return what guests of a host lack; ``Unknown`` how to give it to them.

    :param units: all of a kind, each with its slots.
    :param bits: that guests have by default.
    """
    if not hardware.may_be_x86:
        return None
    lack = need(default_guest(hardware, ram_mib, bits), units)
    if lack is not None and isinstance(hardware.address_bits, Unknown):
        return hardware.address_bits
    return lack


def need(guest: Guest, units: Sequence[Sequence[Slot]]) -> Need | None:
    """Return what guests with some of the units lack; None for nothing.

    :param units: all of a kind on one host, each with its slots.
    """
    units = sorted(units, key=_size_bytes, reverse=True)
    parts = [
        [slot for unit in units[:count] for slot in unit]
        for count in range(1, min(len(units), _MOST_UNITS) + 1)
    ]
    lacks = [shortage(guest, part) for part in parts]
    fewest, lack = next(
        ((n, lack) for n, lack in enumerate(lacks, 1) if lack), (0, None)
    )
    if lack is None:
        return None
    bits = [needed_address_bits(guest, part) for part in parts]
    return Need(tuple(_steps(bits)), fewest, lack)


def _size_bytes(unit: Sequence[Slot]) -> int:
    return sum(bar.size_bytes for slot in unit for bar in slot)


def worst(needs: Iterable[Need | None]) -> Need | None:
    """Return the greatest need of several hosts.

    One that no bits are enough for is not it where others can be met: Nova
    keeps instances off hosts with too few.
    """
    return max(
        (need for need in needs if need is not None),
        key=lambda need: (
            need.bits is not None,
            -need.fewest,
            need.bits or 0,
            need.steps[-1].units,
        ),
        default=None,
    )


def _steps(bits: Sequence[int | None]) -> Iterator[Step]:
    """Yield the last of each run of equal bits, with its number of units."""
    for units, (now, after) in enumerate(
        zip(bits, (*bits[1:], -1), strict=True), 1
    ):
        if now != after:
            yield Step(units, now)

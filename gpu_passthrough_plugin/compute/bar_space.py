"""Whether a guest that is about to start can map the BARs of its cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats.domain_xml import (
    Domain,
    GuestCpu,
    Platform,
)
from gpu_passthrough_plugin.model import address_space
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.address_space import (
    MOST_ADDRESS_BITS,
    QEMU_ADDRESS_BITS,
    Firmware,
    Guest,
    Shortage,
    Slot,
    shown,
)
from gpu_passthrough_plugin.model.function import Bar
from gpu_passthrough_plugin.model.host_facts import CpuVendor
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, known

Bars = Mapping[Address, tuple[Bar, ...] | Unknown]
Slots = Sequence[Sequence[Address]]

# Models of QEMU by what they say of themselves without KVM, and those with
# pages of 1 GiB.  Source: qemu, target/i386/cpu.c (builtin_x86_defs).
_AMD_MODELS = ("EPYC", "Opteron", "athlon", "phenom", "qemu64")
_1GIB_PAGE_MODELS = (
    "Cascadelake", "ClearwaterForest", "Cooperlake", "Denverton", "Dhyana",
    "EPYC", "GraniteRapids", "Icelake-Server", "KnightsMill", "Opteron_G4",
    "Opteron_G5", "SapphireRapids", "SierraForest", "Skylake-Server",
    "Snowridge", "YongFeng", "phenom",
)  # fmt: skip
_1GIB_PAGES = "pdpe1gb"
# Of a CPU that is the host's own.
_HOST_MODES = frozenset({"host-passthrough", "maximum"})


class HostCpu(NamedTuple):
    """What a guest's CPU may take over from the host's."""

    vendor: CpuVendor | Unknown
    address_bits: int | Unknown


def warning(domain: Domain, slots: Slots, bars: Bars, host: HostCpu) -> str:
    """Return what the guest cannot map and what to change; "" for nothing.

    :param slots: the functions on each of the guest's slots.
    :param bars: of each of these functions.
    """
    unread = sorted(a for slot in slots for a in slot if _unread(bars, a))
    if unread:
        return (
            f"BAR sizes of {', '.join(map(str, unread))} could not be read"
            f" ({bars.get(unread[0], 'missing')}): not checked whether guest"
            f" {domain.name} can map them"
        )
    guest = _guest(domain.platform, host)
    if guest is None:
        return ""
    needed = [_slot(slot, bars) for slot in slots]
    shortage = address_space.shortage(guest, needed)
    if shortage is None:
        return ""
    where = "below" if shortage.is_low else "above"
    return (
        f"guest {domain.name} cannot map the BARs of its cards: they need"
        f" {shown(shortage.needed_bytes)} {where} 4 GiB, where"
        f" {guest.firmware} has {shown(shortage.available_bytes)} in"
        f" {guest.address_bits} address bits;"
        f" {_remedy(guest, needed, shortage)}"
    )


def _unread(bars: Bars, address: Address) -> bool:
    return isinstance(bars.get(address, MISSING), Unknown)


def _slot(addresses: Sequence[Address], bars: Bars) -> Slot:
    return tuple(bar for a in addresses for bar in known(bars[a]) or ())


def _remedy(guest: Guest, slots: Sequence[Slot], shortage: Shortage) -> str:
    """Return what to change in the domain, of what this host can do."""
    if shortage.is_low:
        return "request fewer units for one guest"
    ways = []
    bits = address_space.needed_address_bits(guest, slots)
    if bits is not None:
        pages = f" and <feature policy='require' name='{_1GIB_PAGES}'/>"
        if guest.has_1gib_pages or guest.firmware is not Firmware.OVMF:
            pages = ""
        ways.append(
            f"set <maxphysaddr mode='emulate' bits='{bits}'/>{pages} in its"
            " <cpu>"
        )
    mib = address_space.needed_mmio64_mib(guest, slots)
    if mib is not None:
        ways.append(
            "give QEMU the arguments -fw_cfg"
            f" name=opt/ovmf/X-PciMmio64Mb,string={mib} in"
            " <qemu:commandline>"
        )
    if not ways:
        return "request fewer units for one guest: no setting is enough here"
    return ", or ".join(ways)


def _guest(platform: Platform, host: HostCpu) -> Guest | None:
    """Return what decides; None where it cannot be told."""
    cpu = platform.cpu
    if platform.firmware is None or cpu is None:
        return None
    bits = _address_bits(cpu, host)
    if isinstance(bits, Unknown):
        return None
    return Guest(
        firmware=platform.firmware,
        address_bits=bits,
        cpu_vendor=_emulated_vendor(cpu) if cpu.is_emulated else host.vendor,
        has_1gib_pages=_has_1gib_pages(cpu),
        memory_end=platform.memory_end,
        mmio64_mib=platform.mmio64_mib,
        hole64_bytes=platform.hole64_bytes,
        host_bits=known(host.address_bits) or MOST_ADDRESS_BITS,
    )


def _address_bits(cpu: GuestCpu, host: HostCpu) -> int | Unknown:
    """Source: qemu, target/i386/host-cpu.c (host_cpu_max_instance_init)."""
    if isinstance(cpu.address_bits, int):
        return cpu.address_bits
    is_hosts = cpu.mode in _HOST_MODES and not cpu.is_emulated
    if cpu.address_bits is None and not is_hosts:
        return QEMU_ADDRESS_BITS
    bits = host.address_bits
    if isinstance(bits, Unknown) or cpu.most_bits is None:
        return bits
    return min(bits, cpu.most_bits)


def _emulated_vendor(cpu: GuestCpu) -> CpuVendor:
    if not cpu.model:
        return CpuVendor.AMD if not cpu.mode else CpuVendor.OTHER
    is_amd = cpu.model.startswith(_AMD_MODELS)
    return CpuVendor.AMD if is_amd else CpuVendor.INTEL


def _has_1gib_pages(cpu: GuestCpu) -> bool:
    if _1GIB_PAGES in cpu.features or cpu.mode not in ("", "custom"):
        return True
    return cpu.model.startswith(_1GIB_PAGE_MODELS)
